"""What a starting node takes over: facts about each stream from the journal, acts that waited for it."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

from engine.journal.commit import Committer
from engine.journal.open import Journal
from engine.model.errors import BcsError
from engine.model.times import parse_time
from engine.node.audit import AUDIT_GROUP, AuditLog
from engine.node.streams import Known, StreamFacts
from engine.query import points, streams
from engine.query.branches import gap_counts
from engine.query.changed import last_change_at
from engine.query.session import Session
from engine.recovery.in_place.writing import close_interrupted


def facts(journal: Journal, committer: Committer) -> StreamFacts:
    """The newest point, gaps and watermark of every stream.

    A stream whose history can't be read is left without a point: it shows as unprotected, and
    `bcsctl check` says why. The node still serves all others.
    """
    found = StreamFacts()
    heads = committer.heads()
    with Session(journal) as session:
        for address, stream in streams.streams(journal).items():
            if address.group == AUDIT_GROUP or stream.epoch == 0:
                continue
            through_at = heads[stream.id].through_at if stream.id in heads else None
            found.begin(stream.id, _known(session, stream.id, stream.epoch, through_at))
    return found


def follow_fork(journal: Journal, facts: StreamFacts, stream: str, epoch: int) -> None:
    """Take over what counts since an epoch was opened at an earlier position: what came after that is a branch."""
    with Session(journal) as session:
        facts.forked(stream, _known(session, stream, epoch, None))


def _known(session: Session, stream: str, epoch: int, through_at: int | None) -> Known:
    """What the journal says of the current history of a stream."""
    known = Known(epoch=epoch, through_at=through_at)
    try:
        newest = points.points(session, stream, limit=1)
        known.gaps, known.gaps_beside = gap_counts(session, stream)
        known.last_change_at = last_change_at(session, stream)
    except BcsError:
        return known
    if newest:
        known.point, known.point_at, known.started = newest[-1].position, newest[-1].at, True
    return known


def pending_acts(home: Path, audit: AuditLog, now: int) -> None:
    """Record the acts that were done while no node ran, at their times, then forget the list of them; restores in place
    that were killed have an end then.

    The list is locked meanwhile: who adds to it now waits, and then begins a new one.
    """
    close_interrupted(home)
    path = home / "audit" / "pending.jsonl"
    if not path.exists():
        return
    with path.open(errors="backslashreplace") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for line in file.read().splitlines():
            try:
                act = dict(json.loads(line))
                details = dict(act.get("details") or {})
            except (ValueError, TypeError):
                act, details = {"what": "unreadable-act"}, {"line": line[:200]}
            audit.act(str(act.get("what", "")), str(act.get("who", "")), details, _done_at(act.get("at"), now))
        path.unlink()


def _done_at(text: object, now: int) -> int:
    """When a waiting act was done: never later than now, and now if it doesn't say."""
    try:
        return min(parse_time(str(text), now), now)
    except BcsError:
        return now
