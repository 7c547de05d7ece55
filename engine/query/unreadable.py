"""Paths whose bytes at a point are older than the point, because their agent could not read what was there."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from engine.model.events import Inode
from engine.model.ids import Position
from engine.query import sql
from engine.query.asof import whole_line
from engine.query.session import Session
from engine.tree.paths import shown


@dataclass(frozen=True, slots=True)
class Stale:
    """`path` could not be read at `at` (microseconds of site time), and nothing newer of it was until the point."""

    path: bytes
    at: int
    reason: str


def stale(session: Session, stream: str, position: Position, entries: Iterable[tuple[bytes, Inode]]) -> list[Stale]:
    """Which of these entries (path, inode) of the tree at a position were unreadable, by path.

    An agent says once that something can't be read, and describes the inode again when it can and differs. So an
    entry counts when nothing described it since; one that came back unchanged counts too, which does no harm.
    """
    told = _told(session, stream, position)
    if not told:
        return []
    found = []
    for path, inode in entries:
        said = told.get(shown(path))
        if said is not None and said[0] > inode.lsn:
            found.append(Stale(path, said[1], said[2]))
    return sorted(found, key=lambda each: each.path)


def _told(session: Session, stream: str, position: Position) -> dict[str, tuple[int, int, str]]:
    """{path as it is shown: (lsn, at, reason)}, the last of each."""

    def read() -> list[tuple[int, int, str]]:
        return session.rows(sql.fill("unreadable", events=whole_line(session, stream, position)))

    found: dict[str, tuple[int, int, str]] = {}
    for lsn, at, payload in session.reading(read):
        try:
            value = json.loads(payload)
            found[str(value["path"])] = (lsn, at, str(value["reason"]))
        except (ValueError, KeyError, TypeError):
            continue  # an agent's word that nobody can read
    return found
