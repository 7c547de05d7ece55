"""Contents compared across different extents: what the bytes say, not how they lie."""

from __future__ import annotations

from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.format.hashes import extent_hash
from engine.journal.data import DataReader
from engine.model.errors import Damaged
from engine.model.events import DataRef, Extent
from engine.model.extents import Piece, overlay
from engine.query.same_bytes import READ_BYTES_MAX, Contents

KEY = bytes(32)


class Kept:
    """Extents by the name of their pack; counts the bytes that are read."""

    def __init__(self) -> None:
        self.packs: dict[str, bytes] = {}
        self.read_bytes = 0

    def extent(self, lsn: int, offset: int, data: bytes) -> Extent:
        pack = f"packs/{len(self.packs)}"
        self.packs[pack] = data
        ref = DataRef(pack, 0, len(data), 0) if any(data) else None
        return Extent(lsn, lsn, 1, offset, len(data), ref, extent_hash(data, KEY) if ref else b"")

    def read(self, piece: Piece, stream: str) -> memoryview:
        assert piece.data is not None
        if piece.data.pack not in self.packs:
            raise Damaged(f"{piece.data.pack} is missing", hint="")
        self.read_bytes += piece.length
        return memoryview(self.packs[piece.data.pack])[piece.skip : piece.skip + piece.length]

    def same(self, size: int, left: list[Piece], right: list[Piece], most: int = READ_BYTES_MAX) -> bool:
        return Contents(cast(DataReader, self), "stream", most).same(size, left, right)


WRITES = st.lists(st.tuples(st.integers(0, 12), st.lists(st.sampled_from([0, 1]), min_size=1, max_size=8)), max_size=6)


@given(WRITES, WRITES)
def test_contents_are_the_same_exactly_when_their_bytes_are(
    one: list[tuple[int, list[int]]], other: list[tuple[int, list[int]]]
) -> None:
    kept, size, sides = Kept(), 16, []
    for writes in (one, other):
        whole = bytearray(20)
        extents = [kept.extent(n, offset, bytes(data)) for n, (offset, data) in enumerate(writes)]
        for offset, data in writes:
            whole[offset : offset + len(data)] = bytes(data)
        sides.append((bytes(whole[:size]), overlay(extents, size)))
    (left, left_pieces), (right, right_pieces) = sides
    assert kept.same(size, left_pieces, right_pieces) == (left == right)


def test_what_the_hashes_tell_is_not_read() -> None:
    kept = Kept()
    first = overlay([kept.extent(1, 0, b"a" * 8), kept.extent(2, 8, b"b" * 8)], 16)
    again = overlay([kept.extent(3, 0, b"a" * 8), kept.extent(4, 8, b"b" * 8)], 16)
    other = overlay([kept.extent(5, 0, b"a" * 8), kept.extent(6, 8, b"c" * 8)], 16)
    assert kept.same(16, first, again)
    assert not kept.same(16, first, other)
    assert kept.read_bytes == 0


@pytest.mark.parametrize("most, same", [(6, True), (5, False)])
def test_only_the_range_in_doubt_is_read_and_no_more_than_may_be(most: int, same: bool) -> None:
    kept = Kept()
    before = kept.extent(1, 0, b"a" * 1000)
    written_again = kept.extent(2, 500, b"aaa")
    assert kept.same(1000, overlay([before], 1000), overlay([before, written_again], 1000), most) == same
    assert (kept.read_bytes > 0) == same


def test_data_that_is_damaged_counts_as_changed() -> None:
    kept = Kept()
    before, again = kept.extent(1, 0, b"a" * 10), kept.extent(2, 5, b"aaa")
    assert again.data is not None
    del kept.packs[again.data.pack]
    assert not kept.same(10, overlay([before], 10), overlay([before, again], 10))
