"""Where the bytes of files are, as of a position: extents overlaid into pieces.

SQL finds the extents that nothing overlaps, usually nearly all, and they are pieces as they
stand. Only groups that do overlap are overlaid here, in Python.
"""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from engine.model.events import DataRef
from engine.model.extents import Piece
from engine.model.ids import Position
from engine.query import asof, sql
from engine.query.overlay import visible
from engine.query.session import Session

PIECES = pa.schema(
    [
        pa.field("file_id", pa.uint64()),
        pa.field("offset", pa.int64()),  # first byte in the file
        pa.field("length", pa.int64()),  # bytes
        pa.field("pack", pa.string()),
        pa.field("frame", pa.int64()),
        pa.field("frame_bytes", pa.int32()),
        pa.field("data_skip", pa.int32()),  # DataRef.skip: where the extent begins in the opened frame
        pa.field("skip", pa.int64()),  # Piece.skip: where the piece begins in the extent
        pa.field("extent_length", pa.int64()),
        pa.field("hash", pa.binary()),
    ]
)
"""One row a piece, by file_id and offset; holes are left out (engine.model.extents.Piece)."""

LAYERS = pa.schema([*PIECES, pa.field("lsn", pa.uint64()), pa.field("island", pa.int64())])
"""Extents, or pieces, by file_id, offset and lsn. Those that overlap have one `island`, a number of their file's, or -1
for what overlaps nothing; a hole among them, without a pack, hides what is older."""

LAYERS_MAX = 64

IDS_IN_TEXT = 200
"""Up to this many file_ids stand in the query itself, where they prune row groups; more are joined."""


def pieces(
    session: Session, stream: str, position: Position, file_ids: Iterable[int] | None = None
) -> dict[int, list[Piece]]:
    """The pieces of each file, in order of offset. Files without bytes are there if they were asked for."""
    wanted = None if file_ids is None else sorted(set(file_ids))
    found: dict[int, list[Piece]] = {} if wanted is None else {file_id: [] for file_id in wanted}
    if wanted == []:
        return found
    table = _found(session, stream, position, wanted)
    if any(count > 1 for count in table["crowd"].to_pylist()):
        table = _seen(table)
    columns = [table[name].to_pylist() for name in PIECES.names]
    rows = zip(*columns, strict=True)
    for file_id, offset, length, pack, frame, frame_bytes, data_skip, skip, extent_length, digest in rows:
        if pack is not None:
            data = DataRef(pack, frame, frame_bytes, data_skip)
            found.setdefault(file_id, []).append(Piece(offset, length, data, skip, extent_length, digest))
    return found


def extent_table(session: Session, stream: str, position: Position, file_ids: Iterable[int] | None = None) -> pa.Table:
    """The pieces of these files (of all, deleted ones too, without any named), in the form of PIECES."""
    wanted = None if file_ids is None else sorted(set(file_ids))
    if wanted == []:
        return PIECES.empty_table()
    return _seen(_found(session, stream, position, wanted))


def layers(
    session: Session,
    stream: str,
    position: Position,
    file_ids: Iterable[int] | None = None,
    *,
    most: int = LAYERS_MAX,
) -> pa.Table:
    """What `extent_table` answers, in the form of LAYERS, with as little done as can be: of extents that overlap,
    up to `most`, who asks for a range finds the youngest for himself (engine.query.overlay.visible)."""
    wanted = None if file_ids is None else sorted(set(file_ids))
    if wanted == []:
        return LAYERS.empty_table()
    import pyarrow.compute as pc

    table = _found(session, stream, position, wanted)
    few = pc.less_equal(table["crowd"], most)
    kept = table.filter(pc.and_(few, pc.or_(pc.greater(table["crowd"], 1), pc.is_valid(table["pack"]))))
    parts = [_as_layers(_as_pieces(kept), kept["lsn"], kept["island"])]
    crowded = table.filter(pc.invert(few))
    if crowded.num_rows:
        over = _overlaid(crowded)
        parts.append(_as_layers(over, pa.repeat(0, over.num_rows), pa.repeat(-1, over.num_rows)))
    return pa.concat_tables(parts).sort_by([("file_id", "ascending"), ("offset", "ascending"), ("lsn", "ascending")])


def _found(session: Session, stream: str, position: Position, wanted: list[int] | None) -> pa.Table:
    """The answer of extents.sql. Who can do with its columns as they are need not wait for pyarrow.compute: importing
    that takes longer than finding the pieces of a few files."""

    def read() -> pa.Table:
        as_of = asof.as_of(session, stream, position)
        if wanted is None:
            return session.table(sql.fill("extents", events=as_of.events, of_files=""))
        if len(wanted) <= IDS_IN_TEXT:
            listed = f"AND subject IN ({', '.join(map(str, wanted))})"
            return session.table(sql.fill("extents", events=as_of.events, of_files=listed))
        ids = pa.table({"file_id": pa.array(wanted, pa.uint64())})
        with session.lent("wanted_files", ids) as name:
            between = f"AND subject BETWEEN {wanted[0]} AND {wanted[-1]}"
            joined = f"{between} AND subject IN (SELECT file_id FROM {name})"
            return session.table(sql.fill("extents", events=as_of.events, of_files=joined))

    return session.reading(read)


def _seen(table: pa.Table) -> pa.Table:
    """The pieces among the answer of extents.sql, in the form of PIECES."""
    import pyarrow.compute as pc

    alone = pc.equal(table["crowd"], 1)
    simple = _as_pieces(table.filter(pc.and_(alone, pc.is_valid(table["pack"]))))
    crowded = table.filter(pc.invert(alone))
    if not crowded.num_rows:
        return simple  # by file_id and offset, as it was answered
    found = pa.concat_tables([simple, _overlaid(crowded)])
    return found.sort_by([("file_id", "ascending"), ("offset", "ascending")])


def _as_pieces(table: pa.Table) -> pa.Table:
    return table.select(PIECES.names).cast(PIECES)


def _as_layers(pieces: pa.Table, lsn: pa.Array | pa.ChunkedArray, island: pa.Array | pa.ChunkedArray) -> pa.Table:
    return pieces.append_column("lsn", lsn).append_column("island", island).cast(LAYERS)


def _overlaid(table: pa.Table) -> pa.Table:
    """The pieces of extents that overlap others."""
    import pyarrow.compute as pc

    table = table.sort_by([("file_id", "ascending"), ("island", "ascending"), ("offset", "ascending")])
    files, islands = table["file_id"].to_pylist(), table["island"].to_pylist()
    cuts = list(zip(table["offset"].to_pylist(), table["ends"].to_pylist(), table["lsn"].to_pylist(), strict=True))
    holes = pc.is_null(table["pack"]).to_pylist()
    offsets: list[int] = []
    ends: list[int] = []
    taken: list[int] = []
    start = 0
    while start < len(cuts):
        stop = start + 1
        while stop < len(cuts) and (files[stop], islands[stop]) == (files[start], islands[start]):
            stop += 1
        for offset, end, index in visible(cuts[start:stop]):
            if not holes[start + index]:
                offsets.append(offset)
                ends.append(end)
                taken.append(start + index)
        start = stop
    rows = table.take(pa.array(taken, pa.int64()))
    skip = pc.subtract(pa.array(offsets, pa.int64()), rows["offset"])
    length = pc.subtract(pa.array(ends, pa.int64()), pa.array(offsets, pa.int64()))
    columns = {name: rows[name] for name in PIECES.names if name in rows.column_names}
    columns |= {"offset": pa.chunked_array([pa.array(offsets, pa.int64())]), "length": length, "skip": skip}
    return pa.table([columns[name] for name in PIECES.names], names=PIECES.names).cast(PIECES)
