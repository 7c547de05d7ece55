"""The bytes of files of one tree: pieces found once for all files, and made Python objects when they are read."""

from __future__ import annotations

import errno
import os
import threading
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from engine.fuse.protocol import READ_BYTES_MAX
from engine.fuse.turns import Turn
from engine.journal.data import DataReader
from engine.model.events import DataRef
from engine.model.extents import Piece
from engine.model.ids import Position
from engine.query import asof
from engine.query.extents import extent_table, pieces
from engine.query.session import Session
from engine.recovery.mount.rows import numbers, texts

SINGLE_MAX = 8
"""So many files are looked up one by one, which is soonest for someone who wants a few; then all at once."""

EXTENTS_MAX = 4_000_000
"""Trees with more extents are read file by file for ever: their pieces would take a gigabyte."""

_FILES_KEPT = 256
_PARTS_MAX = 1000
"""writev(2) takes 1024."""
_ZEROS = memoryview(bytes(READ_BYTES_MAX))


class Contents:
    """Reads of files of one stream at one position. Safe for several threads."""

    def __init__(self, session: Session, reader: DataReader, stream: str, position: Position, turn: Turn) -> None:
        self._session, self._reader, self._stream, self._position = session, reader, stream, position
        self._turn = turn
        self._lock = threading.Lock()
        self._single: OrderedDict[int, list[Piece]] = OrderedDict()
        self._singles = 0
        self._all: _All | None = None
        self._too_many = False

    def read(self, file_id: int, size: int, offset: int, length: int) -> list[memoryview]:
        """`length` bytes of a file of `size` bytes from `offset` on, fewer at its end, in order. Raises Damaged."""
        end = min(offset + length, size)
        parts: list[memoryview] = []
        for piece in self._pieces(file_id, offset, end):
            first, last = max(offset, piece.offset), min(end, piece.offset + piece.length)
            data = self._reader.read(piece, self._stream)
            if first > offset:
                parts += _zeros(first - offset)
            parts.append(data[first - piece.offset : last - piece.offset])
            offset = last
        parts += _zeros(end - offset)
        return parts if len(parts) <= _PARTS_MAX else [memoryview(b"".join(parts))]

    def seek(self, file_id: int, size: int, offset: int, whence: int) -> int:
        """Where data (os.SEEK_DATA) or a hole (os.SEEK_HOLE) is next, from byte `offset` of a file on. ENXIO behind its
        end, and where no data follows."""
        if not 0 <= offset < size:
            raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))
        at = offset
        for piece in self._pieces(file_id, offset, size):
            if whence == os.SEEK_DATA:
                return max(offset, piece.offset)
            if piece.offset > at:
                return at
            at = piece.offset + piece.length
        if whence == os.SEEK_DATA:
            raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))
        return min(at, size)

    def _pieces(self, file_id: int, start: int, end: int) -> Iterable[Piece]:
        """The pieces of a file that meet [start, end), in order."""
        if start >= end:
            return ()
        if self._all is not None:
            return self._all.between(file_id, start, end)
        with self._turn.passed_on_for(self._lock):
            if self._all is None and self._singles >= SINGLE_MAX and not self._too_many:
                self._turn.pass_on()
                self._load()
            if self._all is not None:
                return self._all.between(file_id, start, end)
            found = self._single.get(file_id)
            if found is None:
                self._turn.pass_on()
                found = pieces(self._session, self._stream, self._position, [file_id])[file_id]
                self._singles += 1
                self._single[file_id] = found
                while len(self._single) > _FILES_KEPT:
                    self._single.popitem(last=False)
        first = max(0, bisect_right(found, start, key=lambda piece: piece.offset) - 1)
        last = bisect_left(found, end, key=lambda piece: piece.offset)
        return [piece for piece in found[first:last] if piece.offset + piece.length > start]

    def _load(self) -> None:
        as_of = asof.as_of(self._session, self._stream, self._position)
        [(count,)] = self._session.rows(f"SELECT count(*) FROM {as_of.events} WHERE kind = 3")
        if count > EXTENTS_MAX:
            self._too_many = True
            return
        self._all = _All(extent_table(self._session, self._stream, self._position))
        self._single.clear()


class _All:
    """The pieces of all files, by file and offset."""

    def __init__(self, table: pa.Table) -> None:
        self._ids, self._offsets = numbers(table["file_id"]), numbers(table["offset"])
        self._lengths, self._frames = numbers(table["length"]), numbers(table["frame"])
        self._frame_bytes, self._data_skips = numbers(table["frame_bytes"]), numbers(table["data_skip"])
        self._skips, self._extent_lengths = numbers(table["skip"]), numbers(table["extent_length"])
        self._hash_at, self._hashes = texts(table["hash"])
        packs = pc.dictionary_encode(
            pa.concat_arrays(table["pack"].chunks) if len(table) else pa.array([], pa.string())
        )
        self._packs: list[str] = packs.dictionary.to_pylist()
        self._pack = numbers(packs.indices)

    def between(self, file_id: int, start: int, end: int) -> Iterator[Piece]:
        """The pieces of a file that meet [start, end), in order."""
        first = bisect_left(self._ids, file_id)
        last = bisect_right(self._ids, file_id, lo=first)
        at = max(first, bisect_right(self._offsets, start, lo=first, hi=last) - 1)
        while at < last and self._offsets[at] < end:
            piece = self._piece(at)
            if piece.offset + piece.length > start:
                yield piece
            at += 1

    def _piece(self, at: int) -> Piece:
        data = DataRef(
            self._packs[self._pack[at]], self._frames[at], self._frame_bytes[at], self._data_skips[at]
        )  # fmt: skip
        digest = bytes(self._hashes[self._hash_at[at] : self._hash_at[at + 1]])
        return Piece(self._offsets[at], self._lengths[at], data, self._skips[at], self._extent_lengths[at], digest)


def _zeros(count: int) -> list[memoryview]:
    """A hole of `count` bytes."""
    whole, rest = divmod(max(0, count), len(_ZEROS))
    return [_ZEROS] * whole + ([_ZEROS[:rest]] if rest else [])
