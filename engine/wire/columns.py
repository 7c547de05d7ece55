"""Rows of events as columns of bytes, and back. No third party; see docs/format.md, "Batch".

A table is a fixed list of columns. A fixed-width column is its values in little endian, one
after another; a `bytes` column is the lengths as u32, then the values' bytes.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from engine.wire.errors import Malformed
from engine.wire.limits import COLUMNS_BYTES_MAX

if sys.byteorder != "little":  # every column travels as the machine holds it
    raise ImportError("batches need a little-endian machine")

BYTES = "bytes"

TABLES: dict[str, tuple[tuple[str, str], ...]] = {
    "dentry": (("lsn", "Q"), ("at", "q"), ("parent", "Q"), ("name", BYTES), ("file_id", "q")),
    "inode": (
        ("lsn", "Q"),
        ("at", "q"),
        ("file_id", "Q"),
        ("type", "B"),
        ("mode", "I"),
        ("uid", "I"),
        ("gid", "I"),
        ("size", "q"),
        ("mtime_ns", "q"),
        ("rdev", "Q"),
        ("target", BYTES),
        ("xattrs", BYTES),
    ),
    "extent": (
        ("lsn", "Q"),
        ("at", "q"),
        ("file_id", "Q"),
        ("offset", "q"),
        ("length", "q"),
        ("frame", "i"),
        ("skip", "I"),
    ),
    "mark": (
        ("lsn", "Q"),
        ("at", "q"),
        ("kind", BYTES),
        ("label", BYTES),
        ("point_class", BYTES),
        ("gap_from", "q"),
    ),
    "record": (("lsn", "Q"), ("at", "q"), ("topic", BYTES), ("payload", BYTES)),
    "copy": (
        ("lsn", "Q"),
        ("at", "q"),
        ("file_id", "Q"),
        ("offset", "q"),
        ("length", "q"),
        ("from_file", "Q"),
        ("from_lsn", "Q"),
        ("skip", "I"),
        ("digest", BYTES),
    ),
}
"""Columns of each table. `dentry.file_id` is -1 for an unlinked name, `extent.frame` the index
of the batch's frame, -1 for a hole; `inode.type` the letter's code.

A `copy` is an extent whose bytes the stream has already: those of the extent `from_lsn` of file `from_file`, from byte
`skip` of it on; `digest` is BLAKE3, 128 bits, of the bytes meant. It came with version 2 of batches."""

FIRST_TABLES = tuple(name for name in TABLES if name != "copy")
"""Those of version 1."""


@dataclass(frozen=True, slots=True)
class BytesColumn:
    """`offsets`, of 32 bits, has one more entry than there are values: value i is data[offsets[i]:offsets[i+1]]."""

    offsets: array[int]
    data: memoryview

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> bytes:
        return bytes(self.data[self.offsets[index] : self.offsets[index + 1]])

    def __iter__(self) -> Iterator[bytes]:
        return (self[index] for index in range(len(self)))


Column = Any  # array[int] | BytesColumn; which one, TABLES says
Columns = dict[str, Column]


def encode_table(name: str, rows: Sequence[tuple[Any, ...]], at: int | None = None) -> list[bytes]:
    """Rows of one table, each a tuple in column order, as the buffers of its columns.

    With `at` that is the time of all of them, whatever the rows say.
    """
    if not rows:
        return []
    buffers: list[bytes] = []
    for (column, code), values in zip(TABLES[name], zip(*rows, strict=True), strict=True):
        if column == "at" and at is not None:
            buffers.append((array("q", [at]) * len(rows)).tobytes())
        elif code is BYTES:
            buffers.append(array("I", map(len, values)).tobytes())
            buffers.append(b"".join(values))
        else:
            buffers.append(array(code, values).tobytes())
    return buffers


def decode_table(name: str, count: int, buffer: memoryview, start: int) -> tuple[Columns, int]:
    """`count` rows of one table from a buffer; the columns, and where the next table starts."""
    columns: Columns = {}
    at = start
    for column, code in TABLES[name]:
        values: array[int] = array("I" if code is BYTES else code)
        size = count * values.itemsize
        if at + size > len(buffer):
            raise Malformed(f"column {name}.{column} is cut short: {len(buffer) - at} of {size} bytes")
        values.frombytes(buffer[at : at + size])
        at += size
        if code is not BYTES:
            columns[column] = values
            continue
        total = sum(values)
        if at + total > len(buffer):
            raise Malformed(f"column {name}.{column} is cut short: {len(buffer) - at} of {total} bytes")
        if total > COLUMNS_BYTES_MAX:
            raise Malformed(f"column {name}.{column} has {total} bytes, more than {COLUMNS_BYTES_MAX}")
        columns[column] = BytesColumn(array("i", accumulate(values, initial=0)), buffer[at : at + total])
        at += total
    return columns, at
