"""The hash of a file's bytes: of its bytes alone, wherever it has holes, which are not read."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest

from engine.tree.content import GRAIN_BYTES, content_hash
from engine.tree.sparse import make_hole
from tests.unit.engine.tree.reading import bytes_read

MIB = 1 << 20


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    opened = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield opened
    os.close(opened)


def of(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with path.open("rb") as file:
        return content_hash(file.fileno())


def test_holes_and_zeros_are_the_same_bytes(fd: int, tmp_path: Path) -> None:
    chance = random.Random(5)
    for size in (0, 1, GRAIN_BYTES, 3 * GRAIN_BYTES + 17, 5 * MIB + 4096):
        os.ftruncate(fd, 0)
        os.ftruncate(fd, size)
        for _ in range(6):
            at = chance.randrange(max(1, size))
            os.pwrite(fd, chance.randbytes(chance.choice([1, 4096, 70_000]))[: size - at], at)
            os.pwrite(fd, bytes(min(100_000, size - at)), at)  # data that is zeros
        sparse = content_hash(fd)
        assert sparse == of(tmp_path / "dense", os.pread(fd, size + 1, 0))
        make_hole(fd, 0, 0)
        assert sparse == content_hash(fd)


def test_data_that_became_a_hole_of_zeros_stays_the_same(fd: int) -> None:
    os.pwrite(fd, b"a" * 1000 + bytes(4 * MIB) + b"b" * 1000, 0)
    dense = content_hash(fd)
    make_hole(fd, 4096, 3 * MIB)
    assert content_hash(fd) == dense


def test_other_bytes_another_place_and_another_size_differ(tmp_path: Path) -> None:
    grain, zeros = b"x" * GRAIN_BYTES, bytes(GRAIN_BYTES)
    contents = [
        *(b"", zeros[:1], zeros, zeros + zeros, grain, grain + zeros, zeros + grain, grain + grain),
        *(grain + zeros + grain, grain + grain + zeros, grain[:-1] + b"y", zeros + grain[:-1], b"y" + zeros[1:]),
    ]
    hashes = [of(tmp_path / "file", content) for content in contents]
    assert all(one != other for one, other in combinations(hashes, 2))


def test_what_stands_behind_the_bytes_can_not_be_taken_for_bytes(tmp_path: Path) -> None:
    """The runs that follow the bytes of one file are no grain of another: lengths are told last."""
    runs = (0).to_bytes(8, "little") + GRAIN_BYTES.to_bytes(8, "little")
    grain = b"x" * GRAIN_BYTES
    assert of(tmp_path / "file", grain + runs) != of(tmp_path / "file", grain)


def test_a_hole_of_a_hundred_gigabytes_is_not_read(fd: int) -> None:
    os.ftruncate(fd, 100 << 30)
    os.pwrite(fd, b"data", 50 << 30)
    with bytes_read() as read:
        found = content_hash(fd)
    assert read() <= MIB
    os.pwrite(fd, b"date", 50 << 30)
    assert content_hash(fd) != found
