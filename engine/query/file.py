"""A file's bytes as of a position: nothing is handed out before its hash was checked."""

from __future__ import annotations

import os
from collections.abc import Iterator

from engine.journal.content import content
from engine.journal.data import DataReader
from engine.journal.open import Journal
from engine.model.errors import NothingThere
from engine.model.events import FILE
from engine.model.ids import Position
from engine.query.extents import pieces
from engine.query.session import Session
from engine.query.tree import Entry, stat

_NOUNS = {"d": "a directory", "l": "a symbolic link", "p": "a fifo", "s": "a socket", "c": "a device", "b": "a device"}


def file_content(
    session: Session, journal: Journal, stream: str, position: Position, path: bytes
) -> tuple[Entry, Iterator[memoryview | bytes]]:
    """The entry at `path` and its bytes, holes as zeros. NothingThere for what is no file."""
    entry = stat(session, stream, position, path)
    if entry.inode.type != FILE:
        what = _NOUNS.get(entry.inode.type, "no file")
        target = f" to {os.fsdecode(entry.inode.target)}" if entry.inode.type == "l" else ""
        raise NothingThere(
            f"{os.fsdecode(path)} was {what}{target}, not a file", hint="`bcsctl ls` shows what is there"
        )
    found = pieces(session, stream, position, [entry.inode.file_id])
    return entry, content(DataReader(journal), stream, found[entry.inode.file_id], entry.inode.size)
