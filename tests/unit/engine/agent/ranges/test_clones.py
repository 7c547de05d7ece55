"""What the extents of two clones tell, compared block by block with what was done to the file."""

from __future__ import annotations

import ctypes
import mmap
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import Site, wait_for

from engine.agent.ranges import clones
from engine.agent.ranges.base import Ranges, Unknown
from engine.agent.ranges.clones import Clones, differing
from engine.drivers.files import Scope
from tests.mounts import mounted

KINDS = ["xfs", "btrfs"]
SIZE = 256 << 10
CHANGES = ["write", "append", "cut", "grow", "punch", "zero", "reserve", "map", "collapse", "sync", "write"]
_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


@contextmanager
def opened(path: Path) -> Iterator[tuple[Clones, int]]:
    """A source of ranges that has no other one, and takes every file for a big one."""
    made = Clones(Unknown(), big_bytes=1)
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        yield made, fd
    finally:
        made.close()
        os.close(fd)


def look(writes: Clones, fd: int) -> tuple[Ranges | None, bytes]:
    """The ranges of a look, and what it read."""
    status = os.fstat(fd)
    ranges = writes.of(status.st_dev, status.st_ino, fd, status.st_size)
    content = os.pread(writes.reading(status.st_dev, status.st_ino, fd), status.st_size, 0)
    writes.looked(status.st_dev, status.st_ino)
    return ranges, content


def patched(old: bytes, new: bytes, ranges: Ranges) -> bytes:
    """What one knows who had `old` and compares only these ranges, and what is new at the end."""
    known = bytearray(old[: len(new)].ljust(len(new), b"\0"))
    for offset, length in [*ranges, (len(old), max(0, len(new) - len(old)))]:
        known[offset : offset + length] = new[offset : offset + length]
    return bytes(known)


def change(fd: int, draw: random.Random) -> None:
    size = os.fstat(fd).st_size
    at, length = draw.randrange(max(size, 1)), draw.randrange(1, 40_000)
    kind = draw.choice(CHANGES)
    if kind == "write":
        os.pwrite(fd, draw.randbytes(length), at)
    elif kind == "append":
        os.pwrite(fd, draw.randbytes(length), size)
    elif kind == "cut":
        os.ftruncate(fd, at)
    elif kind == "grow":
        os.ftruncate(fd, size + length)
    elif kind in ("punch", "zero", "reserve"):
        _libc.fallocate(fd, {"punch": 3, "zero": 0x10, "reserve": 0}[kind], at, length)
    elif kind == "collapse":
        _libc.fallocate(fd, 8, at // 4096 * 4096, 8192)
    elif kind == "map" and size:
        with mmap.mmap(fd, size) as memory:
            piece = draw.randbytes(min(length, size - at))
            memory[at : at + len(piece)] = piece
    else:
        os.fsync(fd)


@pytest.mark.parametrize("kind", KINDS)
def test_random_histories(kind: str) -> None:
    """Whoever compares nothing but the ranges has the file: 200 histories of some changes and looks."""
    saved = looks = 0
    with mounted(kind) as place:
        for seed in range(200):
            draw = random.Random(seed)
            path = place / f"{seed}"
            with opened(path) as (writes, fd):
                os.pwrite(fd, draw.randbytes(SIZE), 0)
                ranges, known = look(writes, fd)
                assert ranges is None
                for _ in range(draw.randrange(2, 6)):
                    for _ in range(draw.randrange(4)):
                        change(fd, draw)
                    ranges, read = look(writes, fd)
                    assert ranges is not None, seed
                    now = os.pread(fd, 1 << 30, 0)
                    assert read == now, seed
                    assert patched(known, now, ranges) == now, (seed, ranges)
                    looks += 1
                    saved += sum(length for _, length in ranges) < len(now) // 2
                    known = now
            path.unlink()
        assert saved > looks // 3  # it is worth something
        assert os.listdir(place) == []


@pytest.mark.parametrize("kind", KINDS)
def test_growth_and_a_change_inside(kind: str) -> None:
    with mounted(kind) as place, opened(place / "file") as (writes, fd):
        os.pwrite(fd, b"a" * SIZE, 0)
        look(writes, fd)
        os.pwrite(fd, b"b" * 8192, SIZE)
        os.pwrite(fd, b"c", 8192 * 3 + 5)
        ranges, read = look(writes, fd)
        assert ranges is not None
        assert any(at <= 8192 * 3 + 5 < at + length for at, length in ranges)
        assert sum(length for _, length in ranges) < SIZE // 4
        assert read[8192 * 3 + 5 :][:1] == b"c"
        assert look(writes, fd)[0] == [(0, 1)]  # nothing more


@pytest.mark.parametrize("kind", KINDS)
def test_a_look_that_failed_is_made_good(kind: str) -> None:
    with mounted(kind) as place, opened(place / "file") as (writes, fd):
        os.pwrite(fd, b"a" * SIZE, 0)
        look(writes, fd)
        status = os.fstat(fd)
        os.pwrite(fd, b"b", 20_000)
        writes.of(status.st_dev, status.st_ino, fd, SIZE)  # and then reading failed: it is not `looked`
        os.pwrite(fd, b"c", 120_000)
        ranges, _ = look(writes, fd)
        assert ranges is not None
        for changed in (20_000, 120_000):
            assert any(at <= changed < at + length for at, length in ranges)


def test_where_there_are_no_clones(tmp_path: Path) -> None:
    with mounted("ext4") as place, opened(place / "file") as (writes, fd):
        os.pwrite(fd, b"a" * SIZE, 0)
        for _ in range(3):
            ranges, read = look(writes, fd)
            assert ranges is None
            assert read == b"a" * SIZE
        assert os.listdir("/proc/self/fd").count(str(fd)) == 1


def test_few_clones_are_kept_and_none_on_a_full_file_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clones, "CLONES_MAX", 3)
    with mounted("xfs") as place:
        before = len(os.listdir("/proc/self/fd"))
        writes = Clones(Unknown(), big_bytes=1)
        fds = [os.open(place / f"{number}", os.O_RDWR | os.O_CREAT) for number in range(6)]
        for fd in fds:
            os.pwrite(fd, b"a" * SIZE, 0)
            look(writes, fd)
        assert len(os.listdir("/proc/self/fd")) <= before + 6 + 3
        os.pwrite(fds[5], b"b", 70_000)
        assert look(writes, fds[5])[0] not in (None, [(0, SIZE)])
        monkeypatch.setattr(clones, "FREE_SHARE", 1.0)
        assert look(writes, fds[5])[0] is None
        assert len(os.listdir("/proc/self/fd")) == before + 6
        writes.close()
        for fd in fds:
            os.close(fd)


@pytest.mark.parametrize("flag", [0x2, 0x4, 0x8, 0x200])
def test_what_is_never_equal(flag: int) -> None:
    here = [(0, 4096, 8192, flag | 1)]
    assert differing(here, here) == [(0, 8192)]


def test_what_is_equal() -> None:
    before = [(0, 4096, 8192, 0), (16384, 65536, 4096, 0x801)]
    after = [(0, 4096, 4096, 0), (4096, 8192, 4096, 0), (16384, 65536, 4096, 1)]
    assert differing(before, before) == []
    assert differing(before, after) == [(16384, 20480)]  # reserved, and now written
    assert differing(before, before[:1]) == [(16384, 20480)]


@pytest.mark.parametrize("kind", KINDS)
def test_little_of_a_big_file_is_read(site: Site, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way: a source without trace events, and a file that is written inside and at its end."""
    monkeypatch.setattr(clones, "BIG_BYTES", 4 << 20)
    monkeypatch.setattr(clones, "AGAIN_SECONDS", 0.1)
    size = 24 << 20
    with mounted(kind) as place:
        site.tree = place / "tree"
        site.tree.mkdir()
        path = site.tree / "big"
        path.write_bytes(os.urandom(size))
        site.start(scope=Scope([str(site.tree)]), watch="fanotify", ranges="none")
        try:
            with path.open("r+b", buffering=0) as file:
                write(file, 5 << 20, b"first")  # the first look after a start reads everything
                site.settle()
                wait_for(lambda: site.node.points()[-1].point_class == "quiet")
                read = site.settings.traffic.read
                for number in range(3):
                    write(file, (number + 7) << 20, b"%d" % number)
                    file.seek(0, os.SEEK_END)
                    file.write(b"more")
                    site.settle()
                assert site.settings.traffic.read - read < 4 << 20
                wait_for(lambda: site.source.report()["ranges"] == "clone")
        finally:
            site.stop()


def write(file: Any, at: int, what: bytes) -> None:
    file.seek(at)
    file.write(what)
