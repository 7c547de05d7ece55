"""What `ls` shows: a directory's entries, or where a source's own paths are when none is named."""

from __future__ import annotations

from engine.model.errors import NothingThere
from engine.model.events import DIRECTORY
from engine.model.ids import Position
from engine.query.emptied import last_held
from engine.query.session import Session
from engine.query.tree import Entry, entries, stat


def directory_listed(
    session: Session, stream: str, position: Position, path: bytes | None, source_paths: tuple[bytes, ...]
) -> Entry | None:
    """The directory whose entries `listing` gives; None when that is none, or several, or was never described."""
    if path is None and len(source_paths) != 1:
        return None
    try:
        found = stat(session, stream, position, path if path is not None else source_paths[0])
    except NothingThere:
        return None
    return found if found.inode.type == DIRECTORY else None


def listing(
    session: Session,
    stream: str,
    position: Position,
    path: bytes | None,
    source_paths: tuple[bytes, ...],
    recursive: bool = False,
) -> list[Entry]:
    """The entries of `path`. Without one: the content of a source's only path, or its paths themselves.

    A directory is answered by what it holds, anything else by itself. NothingThere for an unknown path;
    of several own paths those that were not there yet are left out.
    """
    if path is not None:
        return entries(session, stream, position, path, recursive)
    if len(source_paths) == 1:
        try:
            return entries(session, stream, position, source_paths[0], recursive)
        except NothingThere as error:
            raise last_held(error, session, stream, position, source_paths) from None
    found: list[Entry] = []
    for one in sorted(source_paths):
        try:
            found.append(stat(session, stream, position, one))
            below = entries(session, stream, position, one, True) if recursive else []
        except NothingThere:
            continue
        found += [entry for entry in below if entry.path != one]
    return found
