"""From batches to the rows of a commit: a batch's columns become Arrow arrays without a loop over rows.

Two steps, because a frame's place in the pack is known only once its commit is laid out: `prepare` checks and converts
a batch on its own, `assemble` places the frames of several batches, sorts, and gives a table of EVENTS.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from engine.format.schema import EVENTS
from engine.model.events import DENTRY, EXTENT, INODE, MARK, RECORD
from engine.wire.batch import Batch
from engine.wire.columns import TABLES, BytesColumn, Columns
from engine.wire.errors import Malformed

_KINDS = {"dentry": DENTRY, "inode": INODE, "extent": EXTENT, "mark": MARK, "record": RECORD}
_ARROW_TYPES = {"Q": pa.uint64(), "q": pa.int64(), "I": pa.uint32(), "i": pa.int32(), "B": pa.uint8()}
_SUBJECTS = {"dentry": "parent", "inode": "file_id", "extent": "file_id"}
# Where a batch's column lands when its name differs from the column of EVENTS.
_TARGETS = {
    ("mark", "kind"): "mark",
    ("record", "topic"): "mark",
    ("extent", "file_id"): None,
    ("inode", "file_id"): None,
    ("dentry", "parent"): None,
    ("dentry", "file_id"): None,
}
_LATER = ("stream", "epoch", "committed_at", "pack", "frame_bytes")
_PREPARED = pa.schema([field for field in EVENTS if field.name not in _LATER])
_SORT = [("kind", "ascending"), ("subject", "ascending"), ("lsn", "ascending")]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A batch whose form is sound, as rows in no particular order; `frame` still counts the batch's own frames."""

    batch: Batch
    rows: pa.Table


@dataclass(frozen=True, slots=True)
class Placed:
    """A prepared batch and where its frames lie in the commit's pack: offsets and stored sizes, bytes."""

    prepared: Prepared
    offsets: Sequence[int]
    sizes: Sequence[int]


def prepare(batch: Batch, extent_hashes: bytes) -> Prepared:
    """Convert and check a batch; `extent_hashes` has 16 bytes for each row of `extent`, in order.

    Raises Malformed for names, texts or numbers that can't be.
    """
    parts = []
    for name, columns in batch.tables.items():
        arrays = _arrays(name, columns)
        if name == "extent":
            arrays |= _extent_arrays(arrays, extent_hashes)
        _check(name, columns, arrays, batch)
        parts.append(_wide(arrays, len(columns["lsn"])))
    return Prepared(batch, pa.concat_tables(parts))


def assemble(batches: Sequence[Placed], pack: str, committed_at: int) -> pa.Table:
    """The rows of one commit as EVENTS has them, sorted. At least one batch."""
    by_stream = sorted(batches, key=lambda each: each.prepared.batch.stream)
    tables: list[pa.Table] = []
    streams: list[str] = []
    counts: list[int] = []
    for stream, group in itertools.groupby(by_stream, key=lambda each: each.prepared.batch.stream):
        table = pa.concat_tables([_place(each) for each in group])
        tables.append(table.sort_by(_SORT) if table.num_rows > 1 else table)
        streams.append(stream)
        counts.append(table.num_rows)
    rows = pa.concat_tables(tables).combine_chunks()
    columns = {name: rows.column(name) for name in rows.column_names}
    columns["stream"] = _stream_column(streams, counts)
    columns["committed_at"] = pa.repeat(pa.scalar(committed_at, pa.int64()), rows.num_rows)
    columns["pack"] = _pack_column(rows.column("frame"), pack)
    return pa.Table.from_arrays([columns[field.name] for field in EVENTS], schema=EVENTS)


def sort_events(table: pa.Table) -> pa.Table:
    """Rows of EVENTS, of any streams, by (stream, kind, subject, lsn)."""
    names = pc.unique(table.column("stream").cast(pa.string())).sort()
    rank = pc.index_in(table.column("stream").cast(pa.string()), value_set=names)
    keyed = table.append_column("rank", rank)
    order = pc.sort_indices(keyed, sort_keys=[("rank", "ascending"), *_SORT])
    return table.take(order)


def _stream_column(streams: Sequence[str], counts: Sequence[int]) -> pa.DictionaryArray:
    indices = [pa.repeat(pa.scalar(index, pa.int32()), count) for index, count in enumerate(counts)]
    return pa.DictionaryArray.from_arrays(pa.concat_arrays(indices), pa.array(list(streams), pa.string()))


def _pack_column(frame: pa.ChunkedArray, pack: str) -> pa.Array:
    zero = pa.scalar(0, pa.int32())
    indices = pc.if_else(pc.is_valid(frame), zero, pa.scalar(None, pa.int32())).combine_chunks()
    return pa.DictionaryArray.from_arrays(indices, pa.array([pack], pa.string()))


def _place(placed: Placed) -> pa.Table:
    """A batch's rows with frames where they are in the pack, and the batch's epoch."""
    rows = placed.prepared.rows
    frame = rows.column("frame")
    at = pc.take(pa.array(placed.offsets, pa.int64()), frame)
    size = pc.take(pa.array(placed.sizes, pa.int32()), frame)
    epoch = pa.repeat(pa.scalar(placed.prepared.batch.epoch, pa.uint32()), rows.num_rows)
    rows = rows.set_column(rows.schema.get_field_index("frame"), EVENTS.field("frame"), at)
    return rows.append_column(EVENTS.field("frame_bytes"), size).append_column(EVENTS.field("epoch"), epoch)


def _wide(arrays: dict[str, pa.Array], count: int) -> pa.Table:
    columns = [arrays[f.name] if f.name in arrays else pa.nulls(count, f.type) for f in _PREPARED]
    return pa.Table.from_arrays(columns, schema=_PREPARED)


def _arrays(name: str, columns: Columns) -> dict[str, pa.Array]:
    """The columns of one table of a batch under the names of EVENTS."""
    arrays: dict[str, pa.Array] = {}
    for column, code in TABLES[name]:
        target = _TARGETS.get((name, column), column)
        if target is None:
            continue
        field = EVENTS.field(target)
        values = _bytes_array(columns[column]) if code == "bytes" else _number_array(columns[column], code)
        try:
            arrays[target] = values if values.type == field.type else values.cast(field.type)
        except pa.ArrowInvalid as error:
            raise Malformed(f"column {name}.{column} holds what it can't: {error}") from None
    count = len(columns["lsn"])
    arrays["kind"] = pa.repeat(pa.scalar(_KINDS[name], pa.uint8()), count)
    subject = _SUBJECTS.get(name)
    arrays["subject"] = _number_array(columns[subject], "Q") if subject else pa.repeat(pa.scalar(0, pa.uint64()), count)
    if name == "dentry":
        arrays["file_id"] = _null_below_zero(_number_array(columns["file_id"], "q")).cast(pa.uint64())
    return arrays


def _extent_arrays(arrays: dict[str, pa.Array], extent_hashes: bytes) -> dict[str, pa.Array]:
    """Holes have no frame, no skip, no hash."""
    frame = _null_below_zero(arrays["frame"])
    data = pc.is_valid(frame)
    hashes = pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(frame), [None, pa.py_buffer(extent_hashes)])
    if frame.null_count:
        hashes = pc.if_else(data, hashes, pa.scalar(None, pa.binary(16)))
    skip = pc.if_else(data, arrays["skip"], pa.scalar(None, pa.int32()))
    return {"frame": frame, "skip": skip, "hash": hashes}


def _number_array(values: Any, code: str) -> pa.Array:
    return pa.Array.from_buffers(_ARROW_TYPES[code], len(values), [None, pa.py_buffer(values)])


def _bytes_array(column: BytesColumn) -> pa.Array:
    buffers = [None, pa.py_buffer(column.offsets), pa.py_buffer(column.data)]
    return pa.Array.from_buffers(pa.large_binary(), len(column), buffers).cast(pa.binary())


def _null_below_zero(values: pa.Array) -> pa.Array:
    return pc.if_else(pc.greater_equal(values, pa.scalar(0, values.type)), values, pa.scalar(None, values.type))


def _check(name: str, columns: Columns, arrays: dict[str, pa.Array], batch: Batch) -> None:
    if name == "dentry":
        _check_names(columns["name"], arrays["name"])
        _check_file_ids(name, arrays["file_id"], batch)
    elif name in ("inode", "extent"):
        _check_file_ids(name, arrays["subject"], batch)
    if name == "inode":
        types = set(columns["type"]) - set(b"fdlpscb")
        if types or max(columns["mode"]) > 0o7777 or min(columns["size"]) < 0:
            raise Malformed(
                f"an inode of type {sorted(types) or 'known'}, mode {max(columns['mode']):o}, "
                f"size {min(columns['size'])} can't be"
            )


def _check_names(names: BytesColumn, array: pa.Array) -> None:
    """A name is one part of a path: no agent's word may lead a restore out of its target."""
    data = bytes(names.data)
    if b"/" in data or b"\0" in data:
        raise Malformed("a name holds '/' or a zero byte")
    if pc.any(pc.is_in(array, value_set=pa.array([b"", b".", b".."], pa.binary()))).as_py():
        raise Malformed("a name is empty, '.' or '..'")


def _check_file_ids(name: str, values: pa.Array, batch: Batch) -> None:
    highest = pc.max(values).as_py()
    if highest is not None and highest > batch.lsn_last:
        raise Malformed(f"{name} names file {highest}, which events up to {batch.lsn_last} can't have introduced")
