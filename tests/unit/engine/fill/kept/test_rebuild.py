"""The map from what the file system says, on a real file whose blocks were written in part."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.fill.base import BLOCK_BYTES, COLD, WARM, ColdFile
from engine.fill.kept import map, rebuild
from engine.fill.kept.map import Map
from engine.fill.kept.sizes import Sizes
from engine.fill.tree.skeleton import allocate
from engine.tree.extents import UNWRITTEN, extents
from engine.tree.sparse import make_hole

BLOCKS = 64
SIZE = BLOCKS * BLOCK_BYTES - 1000


@pytest.fixture
def cold(tmp_path: Path) -> tuple[ColdFile, Path]:
    path = tmp_path / "file"
    with path.open("wb") as file:
        os.ftruncate(file.fileno(), SIZE)
        allocate(file.fileno(), 0, SIZE)
        try:
            found = extents(file.fileno())
        except OSError:
            pytest.skip("this file system does not tell its extents")
    if not found or not found[0][3] & UNWRITTEN:
        pytest.skip("this file system has no unwritten extents")
    map.make(tmp_path / "map", BLOCKS)
    return ColdFile(0, 1, 1, 1, SIZE, 0, 0, b"file"), path


def build(cold: ColdFile, path: Path, believed: bool = False) -> tuple[Map, Sizes, rebuild.Mixed]:
    known, sizes = Map(path.parent / "map", writing=True), Sizes(path.parent / "sizes")
    mixed = rebuild.rebuild([cold], known, sizes, lambda file: os.open(path, os.O_RDWR), believed)
    return known, sizes, mixed


def write(path: Path, offset: int, length: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"x" * length)


def test_what_was_never_written_is_cold(cold: tuple[ColdFile, Path]) -> None:
    known, _, mixed = build(*cold)
    assert list(known.cold_runs(0, BLOCKS)) == [(0, BLOCKS)]
    assert mixed == {}


def test_written_and_punched_blocks_are_warm(cold: tuple[ColdFile, Path]) -> None:
    file, path = cold
    write(path, 20 * BLOCK_BYTES, 16 * BLOCK_BYTES)
    with path.open("r+b") as opened:
        make_hole(opened.fileno(), 40 * BLOCK_BYTES, 2 * BLOCK_BYTES)
    known, _, mixed = build(file, path)
    cold_blocks = [at for first, end in known.cold_runs(0, BLOCKS) for at in range(first, end)]
    assert not {40, 41} & set(cold_blocks)
    assert not set(range(20, 36)) & set(cold_blocks)
    # ext4 may have zeroed some small neighbours: those that are cold must be unwritten, others may not be claimed.
    assert set(cold_blocks) >= {0, 63}
    assert mixed == {}


def test_a_block_of_which_a_part_is_there_keeps_it(cold: tuple[ColdFile, Path]) -> None:
    file, path = cold
    write(path, 30 * BLOCK_BYTES + 4096, 4096 + 8 * BLOCK_BYTES)
    with path.open("rb") as opened:
        unwritten = rebuild.unwritten_of(extents(opened.fileno()) or [], SIZE)
    if not any(first <= 30 * BLOCK_BYTES < last for first, last in unwritten):
        pytest.skip("the file system zeroed the rest of the block")
    known, _, mixed = build(file, path)
    assert known.entry(30) == COLD
    assert mixed[0, 30] == [(30 * BLOCK_BYTES + 4096, 31 * BLOCK_BYTES)]
    assert known.entry(31) == WARM
    rebuild.write_mixed(path.parent / "mixed.json", mixed)
    assert rebuild.read_mixed(path.parent / "mixed.json") == mixed


def test_a_map_that_is_believed_keeps_what_it_knows(cold: tuple[ColdFile, Path]) -> None:
    file, path = cold
    known = Map(path.parent / "map", writing=True)
    known.set(3, map.digest(b"filled, and not on the disk yet"))
    known, _, _ = build(file, path, believed=True)
    assert known.entry(3) == map.digest(b"filled, and not on the disk yet")
    assert known.entry(4) == COLD
    assert build(file, path)[0].entry(3) == COLD


def test_what_a_believed_map_calls_cold_and_is_written_is_a_suspect(cold: tuple[ColdFile, Path]) -> None:
    """It stays cold, with what is there: all of a block, or some pages of it; a hole too. Past a cut all is warm."""
    file, path = cold
    write(path, 7 * BLOCK_BYTES + 4096, 3)
    write(path, 20 * BLOCK_BYTES, 2 * BLOCK_BYTES)
    with path.open("r+b") as opened:
        make_hole(opened.fileno(), 40 * BLOCK_BYTES, BLOCK_BYTES)
    os.truncate(path, 60 * BLOCK_BYTES + 10)
    known, _, mixed = build(file, path, believed=True)
    assert list(known.cold_runs(0, BLOCKS)) == [(0, 61)]
    assert {block for _, block in mixed} >= {7, 20, 21, 40}
    assert mixed[0, 7][-1] == (7 * BLOCK_BYTES + 4096, 8 * BLOCK_BYTES)
    assert mixed[0, 40] == [(40 * BLOCK_BYTES, 41 * BLOCK_BYTES)]
    assert (0, 3) not in mixed
    known_before = {(0, 7): mixed[0, 7], (0, 20): [(0, 1)]}
    suspects = rebuild.suspects_of(mixed, known_before)
    assert (0, 7) not in suspects and (0, 20) in suspects
    rebuild.write_mixed(path.parent / "mixed.json", mixed, suspects)
    assert rebuild.read_mixed(path.parent / "mixed.json") == mixed
    assert rebuild.read_suspects(path.parent / "mixed.json") == suspects


def test_a_file_that_was_cut_is_never_filled_past_it(cold: tuple[ColdFile, Path]) -> None:
    file, path = cold
    os.truncate(path, 10 * BLOCK_BYTES)
    os.truncate(path, SIZE)
    os.truncate(path, 12 * BLOCK_BYTES)
    known, sizes, _ = build(file, path)
    assert sizes.smallest == {0: 12 * BLOCK_BYTES}
    assert known.first_cold(10, BLOCKS) == -1


def test_a_file_that_is_gone_is_warm(cold: tuple[ColdFile, Path]) -> None:
    file, path = cold
    path.unlink()
    known, _, _ = build(file, path)
    assert known.first_cold(0, BLOCKS) == -1
