"""Whom the names of a source meant where it was protected: the left side of a table of owners (engine.plan.owners)."""

from __future__ import annotations

from engine.env.accounts import known_here
from engine.journal.open import Journal
from engine.model.errors import NothingThere
from engine.model.ids import Position
from engine.model.policy.site import EMBEDDED_HOST
from engine.plan.owners import Resolve
from engine.query.content import content
from engine.query.session import Session
from engine.query.streams import StreamInfo

_FILES = {"user": b"/etc/passwd", "group": b"/etc/group"}


def known_then(journal: Journal, session: Session, stream: StreamInfo, position: Position) -> Resolve:
    """Names as the host's own /etc/passwd and /etc/group have them, where its history holds those at a point; those of
    a source of this machine as this machine knows them."""
    if stream.address.host == EMBEDDED_HOST:
        return known_here
    known: dict[str, dict[str, int]] = {}

    def resolve(kind: str, name: str) -> int | None:
        if kind not in known:
            try:
                _, parts = content(session, journal, stream, position, _FILES[kind])
                known[kind] = _numbers(b"".join(parts).decode("utf-8", "replace"))
            except NothingThere:
                known[kind] = {}
        return known[kind].get(name)

    return resolve


def _numbers(text: str) -> dict[str, int]:
    rows = (line.split(":") for line in text.splitlines())
    return {row[0]: int(row[2]) for row in rows if len(row) > 2 and row[2].isdigit()}
