"""All names and inodes of one tree in memory, as Arrow columns: about a hundred bytes each, no Python object a file."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from engine.model.events import BLOCK, CHARACTER, DIRECTORY, FIFO, FILE, ROOT_ID, SOCKET, SYMLINK
from engine.model.ids import Position
from engine.query import asof, sql
from engine.query.session import Session

TYPE_BITS = {FILE: 0o10, DIRECTORY: 0o04, SYMLINK: 0o12, FIFO: 0o01, SOCKET: 0o14, CHARACTER: 0o02, BLOCK: 0o06}
_SHOWN = ("name", "file_id", "type", "mode", "uid", "gid", "size", "mtime_ns", "rdev", "links")


class Rows:
    """The tree of a stream at a position. What it answers with are plain values."""

    def __init__(self, table: pa.Table) -> None:
        """`table` as whole_tree.sql gives it."""
        self._table = table.combine_chunks()
        self._starts: dict[int, tuple[int, int]] = {}
        start = 0
        runs = pc.value_counts(self._table["parent"]).to_pylist() if len(self._table) else []
        for run in sorted(runs, key=lambda each: int(each["values"])):
            self._starts[run["values"]] = start, run["counts"]
            start += run["counts"]
        order = pc.sort_indices(self._table["file_id"])
        self._by_file = numbers(order.cast(pa.uint64()))
        self._sorted_ids = numbers(pc.take(self._table["file_id"], order))

    def __len__(self) -> int:
        return len(self._table)

    def entries(self, directory: int) -> Iterator[tuple[Any, ...]]:
        """(name, file_id, mode with its type, uid, gid, size, mtime_ns, rdev, links) of each entry, by name."""
        start, count = self._starts.get(directory, (0, 0))
        part = self._table.slice(start, count)
        for name, file_id, letter, mode, *rest in zip(*(part[each].to_pylist() for each in _SHOWN), strict=True):
            yield name, file_id, TYPE_BITS[chr(letter)] << 12 | mode, *rest

    def row(self, file_id: int) -> dict[str, Any] | None:
        """Everything of one inode, under the first of its names; None for one that no name leads to."""
        at = bisect_left(self._sorted_ids, file_id)
        if at == len(self._sorted_ids) or self._sorted_ids[at] != file_id:
            return None
        [row] = self._table.slice(self._by_file[at], 1).to_pylist()
        row["mode"] |= TYPE_BITS[chr(row["type"])] << 12
        found: dict[str, Any] = row
        return found

    def directory_at(self, path: bytes) -> int | None:
        """The file_id of the directory at an absolute path; None when there is none."""
        at = ROOT_ID
        for name in (each for each in path.split(b"/") if each):
            found = self._child(at, name)
            if found is None or chr(found[1]) != DIRECTORY:
                return None
            at = found[0]
        return at

    def _child(self, directory: int, name: bytes) -> tuple[int, int] | None:
        start, count = self._starts.get(directory, (0, 0))
        names = self._table["name"].slice(start, count)
        low, high = 0, count
        while low < high:
            middle = (low + high) // 2
            if names[middle].as_py() < name:
                low = middle + 1
            else:
                high = middle
        if low == count or names[low].as_py() != name:
            return None
        return self._table["file_id"][start + low].as_py(), self._table["type"][start + low].as_py()


def rows_of(session: Session, stream: str, position: Position) -> Rows:
    """The tree at a position. Raises Damaged when events are missing."""

    def read() -> Rows:
        as_of = asof.as_of(session, stream, position)
        return Rows(session.table(sql.fill("whole_tree", events=as_of.events)))

    return session.reading(read)


def numbers(column: pa.ChunkedArray | pa.Array) -> memoryview:
    """A column of 64-bit numbers without nulls as something that bisect(3) can search."""
    whole = pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column
    if not len(whole):
        return memoryview(b"").cast("Q")
    whole = whole.cast(pa.uint64())
    return memoryview(whole.buffers()[1])[whole.offset * 8 : (whole.offset + len(whole)) * 8].cast("B").cast("Q")
