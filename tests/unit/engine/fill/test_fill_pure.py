"""What decides without touching anything: chunks, spans, order; and the small files of a recovery."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.fill.base import BLOCK_BYTES, ColdFile
from engine.fill.flow.chunks import FIRST_BLOCKS, MOST_BLOCKS, free_around, overlapping, wished
from engine.fill.flow.order import HALF_LIFE, order
from engine.fill.flow.storing import PAGE_BYTES, assembled, holes_of, without
from engine.fill.kept import table
from engine.fill.kept.sizes import Sizes
from engine.model.errors import Damaged
from engine.model.times import DAY


def cold(number: int, size: int = BLOCK_BYTES) -> ColdFile:
    return ColdFile(number, 100 + number, 1, 2 + number, size, 3, number, b"name %d" % number, b"handle", b"xattrs")


def test_a_read_somewhere_takes_its_neighbourhood() -> None:
    assert wished(FIRST_BLOCKS + 3, FIRST_BLOCKS + 4, 0, 1000) == (FIRST_BLOCKS, 2 * FIRST_BLOCKS)
    assert wished(997, 998, 0, 1000)[1] == 1000


def test_who_reads_on_gets_more_and_more_up_to_a_limit() -> None:
    assert wished(40, 41, 16, 1000) == (40, 56)
    assert wished(40, 41, 10 * MOST_BLOCKS, 10_000) == (40, 40 + MOST_BLOCKS)


@given(
    st.lists(st.booleans(), min_size=1, max_size=40),
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 5)), max_size=4),
    st.data(),
)
def test_a_chunk_is_cold_free_and_around_the_block(
    blocks: list[bool], begun: list[tuple[int, int]], data: st.DataObject
) -> None:
    flights = [(first, first + count) for first, count in begun]
    here = [at for at, is_cold in enumerate(blocks) if is_cold and not overlapping(flights, at, at + 1)]
    if not here:
        return
    block = data.draw(st.sampled_from(here))
    first, end = free_around(block, (0, len(blocks)), flights, blocks)
    assert first <= block < end
    assert all(at in here for at in range(first, end))
    assert first - 1 not in here or first == 0
    assert end not in here


PARTS = st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 9000)), max_size=5)


@given(PARTS, st.integers(0, 20_000), st.integers(0, 30_000))
def test_parts_are_assembled_and_whole_pages_between_them_are_holes(
    gaps: list[tuple[int, int]], start: int, length: int
) -> None:
    start -= start % PAGE_BYTES
    end, at, parts = start + length, max(0, start - 3000), []
    for gap, count in gaps:
        parts.append((at + gap, b"x" * count))
        at += gap + count
    whole = bytes(assembled(parts, start, end))
    right = bytearray(length)
    for offset, data in parts:
        for byte in range(max(start, offset), min(end, offset + len(data))):
            right[byte - start] = ord("x")
    assert whole == right
    holes = holes_of(parts, start, end)
    for begins, ends in holes:
        assert begins % PAGE_BYTES == 0 and (ends % PAGE_BYTES == 0 or ends == end) and begins < ends
        assert b"x" not in right[begins - start : ends - start]
    pages = [at for at in range(start, end, PAGE_BYTES) if b"x" not in right[at - start : at - start + PAGE_BYTES]]
    assert [at for at in pages if not any(begins <= at < ends for begins, ends in holes)] == []


@given(st.integers(0, 50), st.integers(1, 50), st.lists(st.tuples(st.integers(0, 100), st.integers(1, 20)), max_size=4))
def test_spans_without_others(start: int, length: int, taken: list[tuple[int, int]]) -> None:
    spans = sorted((begin, begin + count) for begin, count in taken)
    left = {at for first, last in without([(start, start + length)], spans) for at in range(first, last)}
    assert left == set(range(start, start + length)) - {at for first, last in spans for at in range(first, last)}


def test_hot_files_come_first_then_small_ones() -> None:
    files = [cold(0, 500), cold(1, 10), cold(2, 400), cold(3, 300)]
    now = 100 * DAY
    heat = {100: (8, now), 102: (1024, now - 3 * HALF_LIFE), 103: (1, now)}
    assert order(files, heat, now) == [2, 0, 3, 1]
    assert order(files, {}, now) == [1, 3, 2, 0]


def test_a_table_comes_back(tmp_path: Path) -> None:
    files = [cold(0), cold(1, 0), cold(2, 1 << 40)]
    table.write(tmp_path / "files", files)
    assert table.read(tmp_path / "files") == files


def test_half_a_table_is_damaged(tmp_path: Path) -> None:
    table.write(tmp_path / "files", [cold(0)])
    (tmp_path / "files").write_bytes((tmp_path / "files").read_bytes()[:-3])
    with pytest.raises(Damaged):
        table.read(tmp_path / "files")


def test_the_smallest_size_stays_and_half_a_line_goes(tmp_path: Path) -> None:
    sizes = Sizes(tmp_path / "sizes")
    sizes.note(3, 100)
    sizes.note(3, 200)
    sizes.note(4, 0)
    sizes.close()
    with (tmp_path / "sizes").open("ab") as file:
        file.write(b"\1\2\3")
    again = Sizes(tmp_path / "sizes")
    assert again.smallest == {3: 100, 4: 0}
    again.note(3, 50)
    again.close()
    assert Sizes(tmp_path / "sizes").smallest == {3: 50, 4: 0}
