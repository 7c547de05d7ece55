"""A file's bytes as of a position, as an iterator: nothing is handed out before its hash was checked."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from engine.journal.data import DataReader
from engine.journal.open import Journal
from engine.model.errors import NothingThere
from engine.model.events import FILE
from engine.model.extents import Piece
from engine.model.ids import Position
from engine.query.extents import pieces
from engine.query.session import Session
from engine.query.streams import StreamInfo
from engine.query.tree import Entry, stat

ZEROS = bytes(1 << 16)
_NOUNS = {"d": "a directory", "l": "a symbolic link", "p": "a fifo", "s": "a socket", "c": "a device", "b": "a device"}


def content(
    session: Session, journal: Journal, stream: StreamInfo, position: Position, path: bytes
) -> tuple[Entry, Iterator[memoryview | bytes]]:
    """The entry at `path` and its bytes, holes as zeros. NothingThere for what is no file."""
    entry = stat(session, stream.id, position, path)
    if entry.inode.type != FILE:
        what = _NOUNS.get(entry.inode.type, "no file")
        target = f" to {os.fsdecode(entry.inode.target)}" if entry.inode.type == "l" else ""
        raise NothingThere(
            f"{os.fsdecode(path)} was {what}{target}, not a file",
            hint="`bcsctl ls` shows what is there",
            details={"not_a_file": True},
        )
    found = pieces(session, stream.id, position, [entry.inode.file_id])
    return entry, parts(DataReader(journal), stream.id, found.get(entry.inode.file_id, []), entry.inode.size)


def parts(reader: DataReader, stream: str, found: Sequence[Piece], size: int) -> Iterator[memoryview | bytes]:
    """The bytes of a file of `size` bytes from its pieces, holes as zeros. Raises Damaged."""
    at = 0
    for piece in found:
        yield from _zeros(piece.offset - at)
        yield reader.read(piece, stream)
        at = piece.offset + piece.length
    yield from _zeros(size - at)


def _zeros(count: int) -> Iterator[bytes]:
    while count > 0:
        yield ZEROS[:count]
        count -= len(ZEROS)
