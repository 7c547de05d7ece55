"""Restores in place, from the audit: which of a stream's changes were somebody's restore."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.journal import epochs
from engine.journal.seen import AUDIT_GROUP
from engine.model.ids import Position
from engine.model.times import SECOND
from engine.query import sql
from engine.query.asof import whole_line
from engine.query.points import LSN_MAX, marks
from engine.query.session import Session

LATE = SECOND
"""A restore's last writes are at a point at most this long after its end is recorded, microseconds."""


@dataclass(frozen=True, slots=True)
class InPlace:
    """`who` restored between the mark that leads back, at `begun`, and `ended`; microseconds."""

    who: str
    begun: int
    ended: int


def restores(session: Session, stream: str) -> list[InPlace]:
    """The restores in place of a stream, by time, as far as the journal's reader may know of them."""
    labels = {f"mark:{mark.label}": mark.at for mark in marks(session, stream) if mark.kind == "bookmark"}
    if not labels:
        return []
    found: list[InPlace] = []
    for audit in epochs.streams(session.journal.store):
        if audit.address.group != AUDIT_GROUP:
            continue
        known = session.epochs(audit.id)
        if not known:
            continue
        query = sql.fill("restores", events=whole_line(session, audit.id, Position(max(known), LSN_MAX)))
        for at, payload in session.rows(query):
            if session.journal.seen is not None and not session.journal.seen.record(payload):
                continue
            act = _act(payload)
            details = act.get("details", {})
            begun = labels.get(str(details.get("undo")))
            if begun is not None and details.get("stream") == stream and details.get("in_place"):
                found.append(InPlace(str(act.get("who", "")), begun, at + LATE))
    return sorted(found, key=lambda each: each.begun)


def _act(payload: str) -> Mapping[str, Any]:
    try:
        value = json.loads(payload)
    except ValueError:
        return {}
    return value if isinstance(value, dict) and isinstance(value.get("details"), dict) else {}
