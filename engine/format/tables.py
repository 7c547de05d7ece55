"""From batches to the rows of a commit: batches' columns become Arrow arrays without a loop over rows.

Two steps, because a frame's place in the pack is known only once its commit is laid out: `prepare` checks a batch on
its own, `assemble` makes one array of each column of all batches of a commit, and sorts. What Arrow is asked to do
costs much the same for few rows as for many, so it is asked once a commit where that is possible.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from engine.format.schema import EVENTS
from engine.model.events import DENTRY, EXTENT, INODE, MARK, RECORD, DataRef
from engine.wire.batch import Batch
from engine.wire.columns import BYTES, TABLES, BytesColumn, Columns
from engine.wire.errors import Malformed

_KINDS = {"dentry": DENTRY, "inode": INODE, "extent": EXTENT, "mark": MARK, "record": RECORD, "copy": EXTENT}
_ARROW_TYPES = {"Q": pa.uint64(), "q": pa.int64(), "I": pa.uint32(), "i": pa.int32(), "B": pa.uint8()}
_SUBJECTS = {"dentry": "parent", "inode": "file_id", "extent": "file_id", "copy": "file_id"}
# Where a batch's column lands when its name differs from the column of EVENTS.
_TARGETS = {
    ("mark", "kind"): "mark",
    ("record", "topic"): "mark",
    ("extent", "file_id"): None,
    ("inode", "file_id"): None,
    ("dentry", "parent"): None,
    ("dentry", "file_id"): None,
    **{("copy", column): None for column in ("file_id", "from_file", "from_lsn", "skip", "digest")},
}
_RANK = "rank"
_SORT = [("kind", "ascending"), ("subject", "ascending"), ("lsn", "ascending")]
_ELSEWHERE = "elsewhere"
"""Which of the other packs an extent lies in, null for the commit's own."""
_LATER = ("stream", "committed_at", "pack")
_OWN = (pa.field(_RANK, pa.int32()), pa.field(_ELSEWHERE, pa.int32()))
_PLACED = pa.schema([*_OWN, *(field for field in EVENTS if field.name not in _LATER)])
_SKIP_MAX = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class Copied:
    """Where the bytes of a copy are, and their hash under the group's key."""

    data: DataRef
    hash: bytes


@dataclass(frozen=True, slots=True)
class Prepared:
    """A batch whose form is sound. `texts` are its columns of bytes by (table, column), as EVENTS has them;
    `extent_hashes` 16 bytes for each row of its `extent`; `copies` say where the bytes of each row of its `copy` are.
    """

    batch: Batch
    extent_hashes: bytes
    texts: Mapping[tuple[str, str], pa.Array]
    copies: Sequence[Copied] = ()


@dataclass(frozen=True, slots=True)
class Placed:
    """A prepared batch and where its frames lie in the commit's pack: offsets and stored sizes, bytes."""

    prepared: Prepared
    offsets: Sequence[int]
    sizes: Sequence[int]

    def columns(self, name: str) -> Columns:
        return self.prepared.batch.tables[name]


def prepare(batch: Batch, extent_hashes: bytes, copies: Sequence[Copied] = ()) -> Prepared:
    """Check a batch; `extent_hashes` has 16 bytes for each row of `extent`, `copies` one of each row of `copy`.

    Raises Malformed for names, texts or numbers that can't be.
    """
    texts: dict[tuple[str, str], pa.Array] = {}
    for name, columns in batch.tables.items():
        for column, code in TABLES[name]:
            if code is BYTES and name != "copy":
                texts[name, column] = _text(name, column, columns[column])
        _check(name, columns, texts, batch)
    return Prepared(batch, extent_hashes, texts, copies)


def assemble(batches: Sequence[Placed], pack: str, committed_at: int) -> pa.Table:
    """The rows of one commit as EVENTS has them, sorted. At least one batch."""
    streams = sorted({each.prepared.batch.stream for each in batches})
    ranks = {stream: rank for rank, stream in enumerate(streams)}
    parts = []
    others = sorted({copied.data.pack for each in batches for copied in each.prepared.copies})
    for name in TABLES:
        having = [each for each in batches if name in each.prepared.batch.tables]
        if having:
            parts.append(_arrays(name, having, ranks, others))
    rows = _together(parts)
    if rows.num_rows > 1:
        keys = _SORT if len(streams) == 1 else [(_RANK, "ascending"), *_SORT]
        rows = rows.take(pc.sort_indices(rows, sort_keys=keys))
    columns = dict(zip(_PLACED.names, rows.columns, strict=True))
    columns["stream"] = pa.DictionaryArray.from_arrays(columns[_RANK], pa.array(streams, pa.string()))
    columns["committed_at"] = pa.repeat(pa.scalar(committed_at, pa.int64()), rows.num_rows)
    columns["pack"] = _pack_column(columns["frame"], columns[_ELSEWHERE], [pack, *others])
    return pa.Table.from_arrays([columns[field.name] for field in EVENTS], schema=EVENTS)


def sort_events(table: pa.Table) -> pa.Table:
    """Rows of EVENTS, of any streams, by (stream, kind, subject, lsn)."""
    names = pc.unique(table.column("stream").cast(pa.string())).sort()
    rank = pc.index_in(table.column("stream").cast(pa.string()), value_set=names)
    keyed = table.append_column(_RANK, rank)
    order = pc.sort_indices(keyed, sort_keys=[(_RANK, "ascending"), *_SORT])
    return table.take(order)


def _pack_column(frame: pa.Array, elsewhere: pa.Array, packs: Sequence[str]) -> pa.Array:
    """The pack of each row with a frame: the first of `packs` is the commit's own, `elsewhere` counts the others."""
    zero = pa.scalar(0, pa.int32())
    indices = pc.if_else(pc.is_valid(frame), zero, pa.scalar(None, pa.int32()))
    if len(packs) > 1:
        indices = pc.coalesce(pc.add(elsewhere, pa.scalar(1, pa.int32())), indices)
    return pa.DictionaryArray.from_arrays(indices, pa.array(packs, pa.string()))


def _together(parts: Sequence[Mapping[str, pa.Array]]) -> pa.RecordBatch:
    """The rows of several tables with all columns of _PLACED; those that a table does not have are null there."""
    nulls: dict[tuple[int, pa.DataType], pa.Array] = {}
    columns = []
    for field in _PLACED:
        found = []
        for part in parts:
            values = part.get(field.name)
            if values is None:
                key = (len(part["lsn"]), field.type)
                values = nulls.get(key)
                if values is None:
                    values = nulls[key] = pa.nulls(*key)
            found.append(values)
        columns.append(_joined(found))
    return pa.RecordBatch.from_arrays(columns, schema=_PLACED)


def _arrays(
    name: str, batches: Sequence[Placed], ranks: Mapping[str, int], others: Sequence[str]
) -> dict[str, pa.Array]:
    """The columns of one table of all batches, one behind the other, under the names of EVENTS.

    `others` are the packs that copies lie in.
    """
    arrays: dict[str, pa.Array] = {}
    for column, code in TABLES[name]:
        target = _TARGETS.get((name, column), column)
        if target is None:
            continue
        if code is BYTES:
            arrays[target] = _joined([each.prepared.texts[name, column] for each in batches])
        else:
            numbers = _numbers([each.columns(name)[column] for each in batches], code)
            wanted = EVENTS.field(target).type
            arrays[target] = numbers if numbers.type == wanted or column in ("frame", "skip") else numbers.cast(wanted)
    counts = [len(each.columns(name)["lsn"]) for each in batches]
    total = sum(counts)
    arrays[_RANK] = _repeated("i", [ranks[each.prepared.batch.stream] for each in batches], counts)
    arrays["epoch"] = _repeated("I", [each.prepared.batch.epoch for each in batches], counts)
    arrays["kind"] = _repeated("B", [_KINDS[name]], [total])
    subject = _SUBJECTS.get(name)
    arrays["subject"] = (
        _numbers([each.columns(name)[subject] for each in batches], "Q") if subject else _repeated("Q", [0], [total])
    )
    if name == "dentry":
        file_ids = _numbers([each.columns(name)["file_id"] for each in batches], "q")
        arrays["file_id"] = _null_below_zero(file_ids).cast(pa.uint64())
    if name == "extent":
        arrays |= _extent_arrays(arrays, batches, counts)
    if name == "copy":
        arrays |= _copy_arrays([copied for each in batches for copied in each.prepared.copies], others)
    return arrays


def _copy_arrays(copies: Sequence[Copied], others: Sequence[str]) -> dict[str, pa.Array]:
    """Where the bytes of copies lie."""
    numbers = {pack: number for number, pack in enumerate(others)}
    return {
        _ELSEWHERE: pa.array([numbers[each.data.pack] for each in copies], pa.int32()),
        "frame": pa.array([each.data.frame for each in copies], pa.int64()),
        "frame_bytes": pa.array([each.data.frame_bytes for each in copies], pa.int32()),
        "skip": pa.array([each.data.skip for each in copies], pa.int32()),
        "hash": pa.array([each.hash for each in copies], pa.binary(16)),
    }


def _extent_arrays(
    arrays: Mapping[str, pa.Array], batches: Sequence[Placed], counts: Sequence[int]
) -> dict[str, pa.Array]:
    """Where the frames lie in the pack. Holes have no frame, no skip, no hash."""
    frame = _null_below_zero(arrays["frame"])
    if len(batches) > 1:  # each batch counts its own frames
        firsts, first = [], 0
        for each in batches:
            firsts.append(first)
            first += len(each.offsets)
        frame = pc.add(frame, _repeated("i", firsts, counts))
    offsets = pa.array([offset for each in batches for offset in each.offsets], pa.int64())
    sizes = pa.array([size for each in batches for size in each.sizes], pa.int32())
    raw = b"".join(each.prepared.extent_hashes for each in batches)
    hashes = pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(frame), [None, pa.py_buffer(raw)])
    skip = arrays["skip"].view(pa.int32())
    if frame.null_count:
        data = pc.is_valid(frame)
        hashes = pc.if_else(data, hashes, pa.scalar(None, pa.binary(16)))
        skip = pc.if_else(data, skip, pa.scalar(None, pa.int32()))
    return {"frame": offsets.take(frame), "frame_bytes": sizes.take(frame), "skip": skip, "hash": hashes}


def _numbers(columns: Sequence[array[int]], code: str) -> pa.Array:
    """Columns of numbers, one behind the other."""
    values: Any = columns[0] if len(columns) == 1 else b"".join(columns)
    return pa.Array.from_buffers(_ARROW_TYPES[code], sum(map(len, columns)), [None, pa.py_buffer(values)])


def _repeated(code: str, values: Sequence[int], counts: Sequence[int]) -> pa.Array:
    """Each value as often as its count says."""
    return _numbers([array(code, [value]) * count for value, count in zip(values, counts, strict=True)], code)


def _joined(columns: Sequence[pa.Array]) -> pa.Array:
    return columns[0] if len(columns) == 1 else pa.concat_arrays(columns)


def _text(name: str, column: str, values: BytesColumn) -> pa.Array:
    """A column of bytes as EVENTS has it. Raises Malformed for bytes where it has text."""
    kind = EVENTS.field(_TARGETS.get((name, column), column)).type
    buffers = [None, pa.py_buffer(values.offsets), pa.py_buffer(values.data)]
    found = pa.Array.from_buffers(kind, len(values), buffers)
    if kind == pa.string():
        try:
            found.validate(full=True)
        except pa.ArrowInvalid as error:
            raise Malformed(f"column {name}.{column} holds what it can't: {error}") from None
    return found


def _null_below_zero(values: pa.Array) -> pa.Array:
    return pc.if_else(pc.greater_equal(values, pa.scalar(0, values.type)), values, pa.scalar(None, values.type))


def _check(name: str, columns: Columns, texts: Mapping[tuple[str, str], pa.Array], batch: Batch) -> None:
    if name == "dentry":
        _check_names(columns["name"], texts["dentry", "name"])
        _check_file_ids(name, columns["file_id"], batch)
    elif name in ("inode", "extent", "copy"):
        _check_file_ids(name, columns["file_id"], batch)
    if name == "extent" and max(columns["skip"]) > _SKIP_MAX:
        raise Malformed(f"column extent.skip holds what it can't: {max(columns['skip'])}")
    if name == "inode":
        types = bytes(columns["type"]).translate(None, b"fdlpscb")
        if types or max(columns["mode"]) > 0o7777 or min(columns["size"]) < 0:
            raise Malformed(
                f"an inode of type {sorted(set(types)) or 'known'}, mode {max(columns['mode']):o}, "
                f"size {min(columns['size'])} can't be"
            )


def _check_names(names: BytesColumn, array: pa.Array) -> None:
    """A name is one part of a path: no agent's word may lead a restore out of its target."""
    data = bytes(names.data)
    if b"/" in data or b"\0" in data:
        raise Malformed("a name holds '/' or a zero byte")
    if pc.any(pc.is_in(array, value_set=_NO_NAMES)).as_py():
        raise Malformed("a name is empty, '.' or '..'")


_NO_NAMES = pa.array([b"", b".", b".."], pa.binary())


def _check_file_ids(name: str, values: array[int], batch: Batch) -> None:
    highest = max(values)
    if highest > batch.lsn_last:
        raise Malformed(f"{name} names file {highest}, which events up to {batch.lsn_last} can't have introduced")
