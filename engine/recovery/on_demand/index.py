"""Where the bytes of files lie, as a file that is mapped and searched: no query, no library, no time to open it.

The same in memory, of files that are asked for before the file is there: a list of objects would take ten times as long
to make, and all other threads would wait for that.

A line of JSON with the number of rows and the names of packs, then a column after the other, each row a piece
(engine.query.extents.PIECES) or an extent of several that overlap (LAYERS), by file_id and offset. Written once.
"""

from __future__ import annotations

import json
import mmap
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from engine.env import durable
from engine.model.events import DataRef
from engine.model.extents import Piece
from engine.query.overlay import visible

if TYPE_CHECKING:
    import pyarrow as pa

HASH_BYTES = 16
_COLUMNS: tuple[tuple[str, Literal["Q", "q", "I", "i"]], ...] = (
    *(("file_id", "Q"), ("offset", "q"), ("length", "q"), ("pack", "I"), ("frame", "q"), ("frame_bytes", "i")),
    *(("data_skip", "i"), ("skip", "q"), ("extent_length", "q"), ("lsn", "Q"), ("island", "q")),
)
_NO_PACK = (1 << 32) - 1
"""Of a hole."""
_ALIGNED, _ALONE = 8, -1


class Index:
    """Pieces by file. Safe for several threads."""

    def __init__(self, source: Path | bytes) -> None:
        """Of a file that `write` has written, or of what `packed` gave."""
        if isinstance(source, bytes):
            held: bytes | mmap.mmap = source
        else:
            with source.open("rb") as file:
                held = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        end = held.find(b"\n")
        head = json.loads(held[:end])
        self.rows: int = head["rows"]
        self._packs: list[str] = head["packs"]
        whole, at = memoryview(held), _aligned(end + 1)
        columns = {}
        for name, code in _COLUMNS:
            size = self.rows * struct.calcsize(code)
            columns[name] = whole[at : at + size].cast(code)
            at = _aligned(at + size)
        self._hashes = whole[at : at + self.rows * HASH_BYTES]
        self._ids, self._offsets, self._lengths = columns["file_id"], columns["offset"], columns["length"]
        self._lsns, self._islands = columns["lsn"], columns["island"]
        self._rest = [columns[name] for name in ("pack", "frame", "frame_bytes", "data_skip", "skip", "extent_length")]

    def has(self, file_id: int) -> bool:
        """Whether a file has pieces here: an index has all of a file's, or none."""
        at = bisect_left(self._ids, file_id)
        return at < self.rows and self._ids[at] == file_id

    def between(self, file_id: int, start: int, end: int) -> Iterator[Piece]:
        """The pieces of a file that meet [start, end), in order."""
        first = bisect_left(self._ids, file_id)
        last = bisect_right(self._ids, file_id, lo=first)
        at = max(first, bisect_right(self._offsets, start, lo=first, hi=last) - 1)
        while first < at < last and self._islands[at] == self._islands[at - 1] != _ALONE:
            at -= 1  # something long may begin further down and go on behind
        while at < last and self._offsets[at] < end:
            stop = at + 1
            if self._islands[at] != _ALONE:
                while stop < last and self._islands[stop] == self._islands[at]:
                    stop += 1
            if stop > at + 1:
                yield from self._overlaid(at, stop, start, end)
            elif self._offsets[at] + self._lengths[at] > start:
                yield self._piece(at, self._offsets[at], self._offsets[at] + self._lengths[at])
            at = stop

    def _overlaid(self, first: int, last: int, start: int, end: int) -> Iterator[Piece]:
        """What shows of rows that overlap: in all of the range in which they do, so that pieces are always the same."""
        offsets, lengths, lsns = self._offsets, self._lengths, self._lsns
        cuts = [(offsets[row], offsets[row] + lengths[row], lsns[row]) for row in range(first, last)]
        for begins, ends, index in visible(cuts):
            if begins < end and ends > start and self._rest[0][first + index] != _NO_PACK:
                yield self._piece(first + index, begins, ends)

    def _piece(self, row: int, begins: int, ends: int) -> Piece:
        pack, frame, frame_bytes, data_skip, skip, extent_length = [column[row] for column in self._rest]
        digest = bytes(self._hashes[row * HASH_BYTES : (row + 1) * HASH_BYTES])
        data = DataRef(self._packs[pack], frame, frame_bytes, data_skip)
        return Piece(begins, ends - begins, data, skip + begins - self._offsets[row], extent_length, digest)


def write(path: Path, pieces: pa.Table) -> None:
    """An index of a table in the form of PIECES or LAYERS of engine.query.extents. Durable, whole or not."""
    durable.replace(path, _parts(pieces))


def packed(pieces: pa.Table) -> bytes:
    """What `write` writes."""
    return b"".join(_parts(pieces))


def _parts(pieces: pa.Table) -> list[bytes | memoryview]:
    import pyarrow as pa
    import pyarrow.compute as pc

    table = pieces.combine_chunks()
    if "island" not in table.column_names:
        table = table.append_column("lsn", pa.repeat(pa.scalar(0, pa.uint64()), table.num_rows))
        table = table.append_column("island", pa.repeat(pa.scalar(_ALONE, pa.int64()), table.num_rows))
    packs = table.column("pack").combine_chunks().dictionary_encode() if table.num_rows else None
    if isinstance(packs, pa.ChunkedArray):
        packs = packs.chunk(0)
    names = packs.dictionary.to_pylist() if packs is not None else []
    parts: list[bytes | memoryview] = []
    at = _put(parts, 0, json.dumps({"rows": table.num_rows, "packs": names}).encode() + b"\n")
    for name, code in _COLUMNS:
        if name == "pack" and packs is not None:
            column = packs.indices.cast(pa.uint32()).fill_null(_NO_PACK)
        else:
            column = table.column(name).fill_null(0) if table.column(name).null_count else table.column(name)
        at = _put(parts, at, _raw(column, struct.calcsize(code)))
    hashes: bytes | memoryview = b""
    if table.num_rows:
        digests = pc.if_else(pc.is_valid(table["pack"]), table["hash"], pa.scalar(bytes(HASH_BYTES), pa.binary()))
        hashes = _raw(digests.cast(pa.binary(HASH_BYTES)), HASH_BYTES)
    if len(hashes) != table.num_rows * HASH_BYTES:
        raise ValueError(f"{table.num_rows} pieces have {len(hashes)} bytes of hashes")
    _put(parts, at, hashes)
    return parts


def _raw(column: pa.ChunkedArray | pa.Array, width: int) -> bytes | memoryview:
    import pyarrow as pa

    array = pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column
    if not len(array):
        return b""
    return memoryview(array.buffers()[1]).cast("B")[array.offset * width : (array.offset + len(array)) * width]


def _put(parts: list[bytes | memoryview], at: int, data: bytes | memoryview) -> int:
    parts.append(data)
    at += len(data)
    parts.append(bytes(_aligned(at) - at))
    return _aligned(at)


def _aligned(at: int) -> int:
    return -(-at // _ALIGNED) * _ALIGNED
