"""A file's bytes from its pieces, in order, holes as zeros. Each piece is checked before it is given out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from engine.journal.data import DataReader
from engine.model.extents import Piece

ZEROS = bytes(1 << 16)


def content(reader: DataReader, stream: str, pieces: Sequence[Piece], size: int) -> Iterator[bytes | memoryview]:
    """The `size` bytes of a file of `stream`. Raises Damaged at the first piece that is not what was protected."""
    at = 0
    for piece in pieces:
        if piece.data is None:
            continue
        yield from _zeros(piece.offset - at)
        yield reader.read(piece, stream)
        at = piece.offset + piece.length
    yield from _zeros(size - at)


def _zeros(count: int) -> Iterator[bytes]:
    while count > 0:
        yield ZEROS[:count]
        count -= len(ZEROS)
