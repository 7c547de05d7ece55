"""The map of cold blocks, against a plain list of entries."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.fill.base import BLOCK_BYTES, COLD, DIGEST_BYTES, WARM
from engine.fill.kept import map
from engine.fill.kept.map import Map, digest, digests, zero_digests


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "map"


def test_a_new_map_is_cold(path: Path) -> None:
    map.make(path, 1000)
    known = Map(path)
    assert known.blocks == 1000
    assert list(known.cold_runs(0, 1000)) == [(0, 1000)]
    assert known.count_cold(10, 20) == 10


def test_a_map_without_blocks(path: Path) -> None:
    map.make(path, 0)
    known = Map(path, writing=True)
    assert known.first_cold(0, 0) == -1
    known.set(0, b"")
    known.close()


def test_others_see_what_is_set(path: Path) -> None:
    map.make(path, 10)
    one, other = Map(path, writing=True), Map(path)
    one.set(3, digest(b"x") + WARM)
    assert (other.entry(3), other.entry(4), other.entry(5)) == (digest(b"x"), WARM, COLD)


ENTRIES = st.one_of(
    st.just(COLD),
    st.just(WARM),
    # Digests with zeros at their ends: between two of them lie sixteen zeros that are no entry.
    st.sampled_from([bytes(15) + b"\1", b"\1" + bytes(15), bytes(8) + b"\1" * 8, b"\1" * 8 + bytes(8)]),
)


@given(st.lists(ENTRIES, max_size=300), st.data())
def test_cold_runs_are_those_of_a_list(
    tmp_path_factory: pytest.TempPathFactory, entries: list[bytes], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("map") / "map"
    map.make(path, len(entries))
    known = Map(path, writing=True)
    known.set(0, b"".join(entries))
    first = data.draw(st.integers(0, len(entries)))
    end = data.draw(st.integers(first, len(entries)))
    cold = [at for at in range(first, end) if entries[at] == COLD]
    assert [at for begin, stop in known.cold_runs(first, end) for at in range(begin, stop)] == cold
    assert known.first_cold(first, end) == (cold[0] if cold else -1)
    assert known.count_cold(first, end) == len(cold)
    known.close()


def test_digests_are_one_a_block() -> None:
    data = bytearray(b"a" * BLOCK_BYTES + b"b" * 100)
    found = digests(data)
    assert found == digest(data[:BLOCK_BYTES]) + digest(data[BLOCK_BYTES:])
    assert len(found) == 2 * DIGEST_BYTES


def test_a_hole_has_the_digest_of_zeros() -> None:
    size = 3 * BLOCK_BYTES + 5
    assert zero_digests(size, 1, 4) == digests(bytearray(2 * BLOCK_BYTES + 5))
    assert zero_digests(size, 0, 2) == digests(bytearray(2 * BLOCK_BYTES))
