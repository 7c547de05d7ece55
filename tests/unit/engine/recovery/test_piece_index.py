"""The index of pieces, against the list that it was made of."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.model.events import DataRef
from engine.model.extents import Piece
from engine.query.extents import PIECES
from engine.recovery.on_demand.index import Index, packed, write

ROWS = st.lists(
    st.tuples(st.integers(1, 5), st.integers(0, 60), st.integers(1, 10), st.sampled_from(["one", "two"])),
    max_size=40,
)


def table_of(rows: list[tuple[int, Piece]]) -> pa.Table:
    columns = [
        (
            *(file_id, piece.offset, piece.length, piece.data.pack, piece.data.frame, piece.data.frame_bytes),
            *(piece.data.skip, piece.skip, piece.extent_length, piece.hash),
        )
        for file_id, piece in rows
        if piece.data is not None
    ]
    return pa.Table.from_pylist([dict(zip(PIECES.names, row, strict=True)) for row in columns], schema=PIECES)


@given(ROWS, st.integers(0, 80), st.integers(0, 80))
def test_pieces_of_a_range_are_those_of_the_list(
    tmp_path_factory: pytest.TempPathFactory, made: list[tuple[int, int, int, str]], start: int, end: int
) -> None:
    rows: list[tuple[int, Piece]] = []
    ends: dict[int, int] = {}
    for file_id, gap, length, pack in sorted(made):
        offset = ends.get(file_id, 0) + gap
        data = DataRef(pack, 2 * offset, length + 7, 3)
        rows.append((file_id, Piece(offset, length, data, 1, length + 1, bytes([length]) * 16)))
        ends[file_id] = offset + length
    path = tmp_path_factory.mktemp("index") / "all"
    write(path, table_of(rows))
    in_memory = Index(packed(table_of(rows)))
    index = Index(path)
    for file_id in range(7):
        right = [one for id, one in rows if id == file_id and one.offset < end and one.offset + one.length > start]
        assert list(index.between(file_id, start, end)) == right
        assert list(in_memory.between(file_id, start, end)) == right
        assert index.has(file_id) == (file_id in ends)
