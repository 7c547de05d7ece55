"""Whether a file has the same bytes at two positions: by the hashes of its extents where they line up, else by the
bytes themselves.

Bytes written again as they were (a file put back in place, one filled on demand) lie in other extents than before.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from engine.journal.data import DataReader
from engine.model.errors import Damaged
from engine.model.extents import Piece

READ_BYTES_MAX = 1 << 30
"""So much of the journal's data one comparison of two moments reads at most; what is in doubt then is changed."""

_PART_BYTES = 1 << 20

Span = tuple[int, int, Piece | None, Piece | None]
"""(begin, end) of bytes of a file, and the piece that either side has there; None is a hole, read as zeros."""


@dataclass(slots=True)
class Contents:
    """Compares contents of one stream's files. `unread_bytes` is what it may still read of the journal's data."""

    reader: DataReader
    stream: str
    unread_bytes: int = READ_BYTES_MAX

    def same(self, size: int, left: Sequence[Piece], right: Sequence[Piece]) -> bool:
        """Whether two lists of pieces, each in order of offset, make the same file of `size` bytes.

        False as well where that can't be told: damaged data, or nothing left of `unread_bytes`.
        """
        doubtful = [span for span in _spans(size, left, right) if not _is_one(span)]
        if any(_must_differ(span) for span in doubtful):
            return False
        try:
            return all(self._equal(*span) for span in doubtful)
        except Damaged:
            return False

    def _equal(self, begin: int, end: int, left: Piece | None, right: Piece | None) -> bool:
        self.unread_bytes -= (end - begin) * ((left is not None) + (right is not None))
        if self.unread_bytes < 0:
            return False
        one, other = self._read(begin, end, left), self._read(begin, end, right)
        if one is not None and other is not None:
            return one == other
        found = one if one is not None else other
        return found is None or not any(_not_zero(found))

    def _read(self, begin: int, end: int, piece: Piece | None) -> memoryview | None:
        if piece is None:
            return None
        return self.reader.read(piece, self.stream)[begin - piece.offset : end - piece.offset]


def _spans(size: int, left: Sequence[Piece], right: Sequence[Piece]) -> Iterator[Span]:
    cuts = {0, size}
    for piece in (*left, *right):
        cuts.update((min(piece.offset, size), min(piece.offset + piece.length, size)))
    edges = sorted(cuts)
    for begin, end in pairwise(edges):
        yield begin, end, _at(left, begin), _at(right, begin)


def _at(pieces: Sequence[Piece], offset: int) -> Piece | None:
    before = bisect_right(pieces, offset, key=lambda piece: piece.offset)
    found = pieces[before - 1] if before else None
    return found if found is not None and found.data is not None and offset < found.offset + found.length else None


def _is_one(span: Span) -> bool:
    """Both sides have a hole there, or the same bytes of extents with the same hash."""
    _, _, left, right = span
    if left is None or right is None:
        return left is right
    return _extent_of(left) == _extent_of(right)


def _must_differ(span: Span) -> bool:
    """Both sides have the whole of an extent there, and their hashes differ."""
    begin, end, left, right = span
    return all(piece is not None and piece.extent_length == end - begin for piece in (left, right))


def _extent_of(piece: Piece) -> tuple[int, int, bytes]:
    """Where its extent would begin in the file, how long that is, and its hash."""
    return piece.offset - piece.skip, piece.extent_length, piece.hash


def _not_zero(found: memoryview) -> Iterator[bool]:
    for at in range(0, len(found), _PART_BYTES):
        part = bytes(found[at : at + _PART_BYTES])
        yield part.count(0) != len(part)
