"""All names and inodes of one tree in memory, as columns: about a hundred bytes each, no Python object a file.

A row is a name; a file with several names has several rows, of which the first stands for the file.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from engine.model.events import BLOCK, CHARACTER, DIRECTORY, FIFO, FILE, ROOT_ID, SOCKET, SYMLINK
from engine.model.ids import Position
from engine.query import asof, sql
from engine.query.session import Session

TYPE_BITS = {FILE: 0o10, DIRECTORY: 0o04, SYMLINK: 0o12, FIFO: 0o01, SOCKET: 0o14, CHARACTER: 0o02, BLOCK: 0o06}
_MODES = [0] * 256
for _letter, _bits in TYPE_BITS.items():
    _MODES[ord(_letter)] = _bits << 12
_DIRECTORY = ord(DIRECTORY)
Code = Literal["B", "I", "q", "Q"]
"""Of a column of numbers, as struct has it."""


class Row(NamedTuple):
    """What stat(2) shows of a name's inode; `mode` with its type, `stored` the bytes that are no holes."""

    name: bytes
    file_id: int
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    rdev: int
    links: int
    stored: int


class Rows:
    """The tree of a stream at a position. What it answers with are plain values. Safe for several threads."""

    def __init__(self, table: pa.Table) -> None:
        """`table` as whole_tree.sql gives it."""
        self._count = len(table)
        self._targets, self._xattrs = table["target"].combine_chunks(), table["xattrs"].combine_chunks()
        self._parent, self._file_id = numbers(table["parent"]), numbers(table["file_id"])
        self._type, self._mode = values(table["type"], pa.uint8(), "B"), values(table["mode"], pa.uint32(), "I")
        self._uid, self._gid = values(table["uid"], pa.uint32(), "I"), values(table["gid"], pa.uint32(), "I")
        self._size, self._mtime = values(table["size"], pa.int64(), "q"), values(table["mtime_ns"], pa.int64(), "q")
        self._rdev, self._links = numbers(table["rdev"]), values(table["links"], pa.int64(), "q")
        self._stored = values(table["stored"], pa.int64(), "q")
        self._name_at, self._names = texts(table["name"])
        order = pc.sort_indices(table["file_id"])
        self._by_file = numbers(order)
        self._sorted_ids = numbers(pc.take(table["file_id"], order))
        self._last = (-1, 0, 0)

    def __len__(self) -> int:
        return self._count

    def entries(self, directory: int) -> Iterator[Row]:
        """Each entry, by name."""
        first, last = self._range(directory)
        if first == last:
            return
        names, at = self._names, self._name_at[first : last + 1].tolist()
        columns = (
            column[first:last].tolist()
            for column in (
                *(self._file_id, self._type, self._mode, self._uid, self._gid),
                *(self._size, self._mtime, self._rdev, self._links, self._stored),
            )
        )
        for begin, end, file_id, letter, mode, *rest in zip(at, at[1:], *columns, strict=False):
            yield Row(bytes(names[begin:end]), file_id, _MODES[letter] | mode, *rest)

    def find(self, directory: int, name: bytes) -> Row | None:
        """One entry; None when there is none of that name."""
        at = self._row_of(directory, name)
        return None if at is None else self.row(at)

    def row(self, at: int) -> Row:
        return Row(
            self._name(at),
            self._file_id[at],
            _MODES[self._type[at]] | self._mode[at],
            *(self._uid[at], self._gid[at], self._size[at], self._mtime[at], self._rdev[at], self._links[at]),
            self._stored[at],
        )

    def index(self, file_id: int) -> int | None:
        """The row of an inode under the first of its names; None for one that no name leads to."""
        at = bisect_left(self._sorted_ids, file_id)
        if at == self._count or self._sorted_ids[at] != file_id:
            return None
        return self._by_file[at]

    def size(self, at: int) -> int:
        return self._size[at]

    def parent(self, at: int) -> int:
        return self._parent[at]

    def target(self, at: int) -> bytes:
        found: bytes = self._targets[at].as_py() or b""
        return found

    def xattrs(self, at: int) -> bytes:
        found: bytes = self._xattrs[at].as_py() or b""
        return found

    def directory_at(self, path: bytes) -> int | None:
        """The file_id of the directory at an absolute path; None when there is none."""
        directory = ROOT_ID
        for name in (each for each in path.split(b"/") if each):
            at = self._row_of(directory, name)
            if at is None or self._type[at] != _DIRECTORY:
                return None
            directory = self._file_id[at]
        return directory

    def _range(self, directory: int) -> tuple[int, int]:
        known, first, last = self._last
        if known != directory:
            first = bisect_left(self._parent, directory)
            last = bisect_left(self._parent, directory + 1, lo=first)
            self._last = directory, first, last
        return first, last

    def _row_of(self, directory: int, name: bytes) -> int | None:
        first, last = self._range(directory)
        at = bisect_left(range(last), name, lo=first, key=self._name)
        return at if at < last and self._name(at) == name else None

    def _name(self, at: int) -> bytes:
        return bytes(self._names[self._name_at[at] : self._name_at[at + 1]])


def rows_of(session: Session, stream: str, position: Position) -> Rows:
    """The tree at a position. Raises Damaged when events are missing."""

    def read() -> Rows:
        as_of = asof.as_of(session, stream, position)
        return Rows(session.table(sql.fill("whole_tree", events=as_of.events)))

    return session.reading(read)


def numbers(column: pa.ChunkedArray | pa.Array) -> memoryview:
    """A column of 64-bit numbers, nulls as 0, as something that bisect(3) can search."""
    return values(column, pa.uint64(), "Q")


def values(column: pa.ChunkedArray | pa.Array, kind: pa.DataType, code: Code) -> memoryview:
    """A column of numbers, nulls as 0, in place as a memoryview with the struct code `code`."""
    whole: Any = pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column
    if not len(whole):
        return memoryview(b"").cast(code)
    whole = whole.cast(kind)
    if whole.null_count:
        whole = pc.fill_null(whole, pa.scalar(0, kind))
    width = kind.bit_width // 8
    buffer = memoryview(whole.buffers()[1])[whole.offset * width : (whole.offset + len(whole)) * width]
    return buffer.cast("B").cast(code)


def texts(column: pa.ChunkedArray | pa.Array) -> tuple[memoryview, memoryview]:
    """A column of bytes without nulls as (where each begins, and where the last ends; all of them in one)."""
    whole: Any = pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column
    if not len(whole):
        return memoryview(bytes(8)).cast("q"), memoryview(b"")
    whole = whole.cast(pa.large_binary())
    _, offsets, data = whole.buffers()
    begins = memoryview(offsets)[whole.offset * 8 : (whole.offset + len(whole) + 1) * 8].cast("B").cast("q")
    return begins, memoryview(data) if data is not None else memoryview(b"")
