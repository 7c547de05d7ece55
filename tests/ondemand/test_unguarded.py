"""Supervisor and filler are killed at once: what is written until they are back is not lost, nor taken for right."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.fill.base import FUSE, PRE_ACCESS
from engine.fill.kept import documents
from tests.mounts import mounted
from tests.ondemand.conftest import skip_if_impossible
from tests.ondemand.rig import Recovery, recovery
from tests.ondemand.supply import Like

BLOCK, PAGE = 8192, 4096
SIZE = 60 * BLOCK + 77
FILES = [f"f{number}" for number in range(8)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    tree = tmp_path / "source"
    tree.mkdir()
    data = random.Random(5)
    for name in FILES:
        (tree / name).write_bytes(data.randbytes(SIZE))
    return tree


@pytest.fixture(params=["ext4", "xfs", "btrfs"])
def marked(request: pytest.FixtureRequest, source: Path, tmp_path: Path) -> Iterator[Recovery]:
    with mounted(request.param) as path:
        skip_if_impossible(PRE_ACCESS, path)
        with recovery(source, path / "tree", tmp_path / "home", PRE_ACCESS) as found:
            yield found


def write(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        os.pwrite(file.fileno(), data, at)


def test_files_written_to_meanwhile_are_named(marked: Recovery, source: Path) -> None:
    """And only those: who was filled, rewritten before, or read as zeros meanwhile, is as it should be in the end."""
    marked.begin()
    (marked.dir / "f0").read_bytes()
    write(marked.dir / "f1", 5 * BLOCK + 5, b"guarded")
    marked.end()
    write(marked.dir / "f2", 20 * BLOCK + 100, b"mid")
    with (marked.dir / "f3").open("ab") as file:
        file.write(b"appended")
    write(marked.dir / "f0", 7, b"whole before")
    assert (marked.dir / "f4").read_bytes()[: 4 * BLOCK] == bytes(4 * BLOCK)
    whole = (source / "f5").read_bytes()[8 * BLOCK : 12 * BLOCK]
    write(marked.dir / "f5", 8 * BLOCK, whole)
    os.truncate(marked.dir / "f6", 0)
    os.truncate(marked.dir / "f6", SIZE)
    (marked.dir / "f7").unlink()
    marked.start()
    marked.fill()
    assert documents.read_unguarded(marked.place) == ["f2", "f3", "f6"]
    right = {name: bytearray((source / name).read_bytes()) for name in FILES}
    right["f0"][7:19] = b"whole before"
    right["f1"][5 * BLOCK + 5 : 5 * BLOCK + 12] = b"guarded"
    for name in ("f0", "f1", "f4", "f5"):
        assert (marked.dir / name).read_bytes() == right[name], name
    found = (marked.dir / "f2").read_bytes()
    assert found[20 * BLOCK + 100 : 20 * BLOCK + 103] == b"mid"
    assert found[: 20 * BLOCK] == right["f2"][: 20 * BLOCK]
    assert found[20 * BLOCK + PAGE :] == right["f2"][20 * BLOCK + PAGE :]
    assert (marked.dir / "f3").read_bytes().endswith(b"appended")
    assert (marked.dir / "f6").read_bytes() == bytes(SIZE)


def test_they_are_named_though_it_all_dies_again(marked: Recovery) -> None:
    """Before they were compared, and after."""
    marked.begin()
    marked.end()
    write(marked.dir / "f2", 20 * BLOCK + 100, b"mid")
    write(marked.dir / "f3", 20 * BLOCK + 100, b"mid")
    marked.start()
    with (marked.dir / "f2").open("rb") as file:
        os.pread(file.fileno(), 1, 20 * BLOCK)
    assert documents.read_unguarded(marked.place) == ["f2"]
    marked.kill_filler()
    marked.end()
    marked.start()
    marked.fill()
    assert documents.read_unguarded(marked.place) == ["f2", "f3"]


def test_they_are_named_though_the_boot_is_another_one(marked: Recovery) -> None:
    """The map says nothing then: nobody could compare them any more."""
    marked.begin()
    marked.end()
    write(marked.dir / "f2", 20 * BLOCK + 100, b"mid")
    marked.start()
    marked.end()
    marked.another_boot()
    marked.cover()
    marked.start()
    marked.fill()
    assert documents.read_unguarded(marked.place) == ["f2"]


def test_a_fill_under_way_is_no_write(marked: Recovery, source: Path) -> None:
    """Killed in the middle of filling, again and again: nobody wrote to anything."""
    (source / "last").write_bytes(b"not to be had for now: else all might be there before the last of them is killed")
    marked.begin(hold_back=False, like=Like(read_seconds=0.002, damaged=["last"]))
    for left in (2, 1, 0):
        marked.end()
        if not left:
            marked.like(Like())
        marked.start()
    marked.fill()
    assert documents.read_unguarded(marked.place) == []
    assert [each for each in marked.differences() if "mtime" not in each] == []


@pytest.mark.parametrize("kind", ["ext4", "tmpfs"])
def test_behind_a_mount_nothing_is_reached(source: Path, tmp_path: Path, kind: str) -> None:
    with mounted(kind) as path:
        skip_if_impossible(FUSE, path)
        with recovery(source, path / "tree", tmp_path / "home", FUSE) as made:
            made.begin()
            made.end()
            with pytest.raises(OSError) as told:
                (made.dir / "f2").read_bytes()
            assert told.value.errno in (errno.ENOTCONN, errno.ECONNABORTED)  # before its end is through, and after
            made.start()
            made.fill()
            assert documents.read_unguarded(made.place) == []
            assert made.differences() == []
