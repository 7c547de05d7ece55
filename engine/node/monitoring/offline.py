"""The status of a site whose node is down, from its journal: how the data is, not how the agents are."""

from __future__ import annotations

from typing import Any

from engine.journal import control
from engine.journal.heads import recover
from engine.journal.open import Journal
from engine.model.errors import BcsError
from engine.model.times import format_time
from engine.node.monitoring.hosts import host_status
from engine.node.monitoring.status import Stored, source_status
from engine.node.monitoring.summary import answer, host_of, summary
from engine.query import points
from engine.query.branches import gap_counts
from engine.query.changed import last_change_at
from engine.query.session import Session

UNKNOWN = "unknown"
NOBODY_KNOWS = ("synced", "healthy", "protected", "state", "condition")
"""What only a running node can say of a source."""


def status_of(journal: Journal, now: int) -> dict[str, Any]:
    """The form of the node's own status, with `node` None and every agent's health `unknown`."""
    applied = control.latest(journal.store, control.POLICIES)
    if applied and journal.seen:
        applied = journal.seen.policy(applied)
    sources: dict[str, dict[str, Any]] = applied["sources"] if applied else {}
    groups: dict[str, list[dict[str, Any]]] = {}
    with Session(journal) as session:
        for address, source in sorted(sources.items()):
            row = source_status(address, source, None, _stored(session, source["stream"]), -1, now)
            row |= {**dict.fromkeys(NOBODY_KNOWS, UNKNOWN), "since": None}
            groups.setdefault(address.split("/")[0], []).append(row)
    listed = [{"name": name, "sources": rows, "drill": None} for name, rows in groups.items()]
    return {
        "at": format_time(now),
        "node": None,
        "policies": applied["number"] if applied else 0,
        "answer": answer(listed),
        "summary": summary(listed),
        "hosts": _hosts([row for rows in groups.values() for row in rows], now),
        "groups": listed,
    }


def _hosts(rows: list[dict[str, Any]], now: int) -> list[dict[str, Any]]:
    """The hosts of these sources, with the last sign of each that is in the journal."""
    of_host: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        of_host.setdefault(host_of(row), []).append(row)
    return [host_status(host, of_host[host], None, None, now) for host in sorted(of_host)]


def _stored(session: Session, stream: str) -> Stored:
    """What the journal has of a stream; nothing when it can't be read, since then nothing is protected."""
    try:
        newest = points.points(session, stream, limit=1)
        count, beside = gap_counts(session, stream)
        changed_at = last_change_at(session, stream)
        known = recover(session.journal).streams.get(stream)
        head = known.current if known else None
    except BcsError:
        return Stored()
    through = head.through_at if head else None
    if not newest:
        return Stored(through_at=through, gaps=count, heard_at=through, gaps_beside=beside)
    heard_at = max(through or 0, newest[-1].at)
    point, at = str(newest[-1].position), newest[-1].at
    return Stored(point, at, through, changed_at, count, heard_at=heard_at, gaps_beside=beside)
