"""A source whose big files change in every way that nobody announces: what the node has equals the disk in the end."""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import random
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import Site, wait_for

from engine.agent.ranges import mapped, tracefs
from engine.drivers.files import Scope
from tests.mounts import mounted

SIZE = 12 << 20
MEGABYTE = 1 << 20
TRACED = ("ext4", "xfs")
WAYS = [("ext4", "trace"), ("xfs", "trace"), ("ext4", "none"), ("btrfs", "trace"), ("tmpfs", "trace")]


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mapped files are asked for as often as other tests allow."""
    monkeypatch.setattr(mapped, "PERIOD_SECONDS", 0.3)
    monkeypatch.setattr(mapped, "SHARE", 0.2)


@contextmanager
def protecting(site: Site, kind: str, ranges: str) -> Iterator[Path]:
    """A big file on a mounted file system, while the source protects it."""
    with mounted(kind) as place:
        site.tree = place / "tree"
        site.tree.mkdir()
        path = site.tree / "big"
        with path.open("wb") as opened:
            opened.write(random.Random(7).randbytes(SIZE))
            opened.flush()
            os.fsync(opened.fileno())
        site.start(scope=Scope([str(site.tree)]), ranges=ranges, watch="fanotify")
        site.settle()
        told = ranges if kind in TRACED else "none"
        wait_for(lambda: site.source.view.ranges == told)
        try:
            yield path
        finally:
            site.stop()
            held = [each for each in map(_target, os.listdir("/proc/self/fd")) if str(place) in each]
            assert not held, "a stopped source holds files open"


def _target(fd: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except FileNotFoundError:
        return ""


_libc = ctypes.CDLL(None, use_errno=True)
_IO_SETUP, _IO_DESTROY, _IO_GETEVENTS, _IO_SUBMIT = 206, 207, 208, 209
_PWRITE = 1


def submit(fd: int, buffer: mmap.mmap, offset: int) -> None:
    """Write the buffer by io_submit(2), and wait until that is done."""
    if platform.machine() != "x86_64":
        pytest.skip("knows the numbers of x86_64 alone")
    context, address = ctypes.c_ulong(0), ctypes.addressof(ctypes.c_char.from_buffer(buffer))
    assert _libc.syscall(_IO_SETUP, 1, ctypes.byref(context)) == 0
    block = ctypes.create_string_buffer(
        struct.pack("=QIIHhIQQqQII", 0, 0, 0, _PWRITE, 0, fd, address, len(buffer), offset, 0, 0, 0)
    )
    blocks = (ctypes.c_void_p * 1)(ctypes.addressof(block))
    assert _libc.syscall(_IO_SUBMIT, context, 1, blocks) == 1
    done = ctypes.create_string_buffer(32)
    assert _libc.syscall(_IO_GETEVENTS, context, 1, 1, done, None) == 1
    _libc.syscall(_IO_DESTROY, context)


def _read(site: Site) -> int:
    return site.settings.traffic.read


@pytest.mark.parametrize(("kind", "ranges"), WAYS)
def test_growth_and_a_change_inside(site: Site, kind: str, ranges: str) -> None:
    with protecting(site, kind, ranges) as path:
        before = _read(site)
        with path.open("r+b", buffering=0) as opened:
            opened.write(b"changed")
            opened.seek(0, os.SEEK_END)
            opened.write(os.urandom(MEGABYTE))
        site.settle()
        path.chmod(0o600)
        site.settle()
        if ranges == "trace" and kind in TRACED:
            assert _read(site) - before <= 3 * MEGABYTE
        else:
            assert _read(site) - before >= SIZE


@pytest.mark.parametrize(("kind", "ranges"), WAYS)
@pytest.mark.parametrize("flush", [True, False])
def test_stores_through_a_mapping(site: Site, kind: str, ranges: str, flush: bool) -> None:
    with (
        protecting(site, kind, ranges) as path,
        path.open("r+b") as opened,
        mmap.mmap(opened.fileno(), 0) as mapping,
    ):
        mapping[5 * MEGABYTE] ^= 1
        if flush:
            mapping.flush()
        site.settle()
        mapping[5 * MEGABYTE + 1] ^= 1  # the page is dirty, or was a moment ago
        site.settle()
        os.pwrite(opened.fileno(), b"x", 7 * MEGABYTE)
        site.settle()
        mapping[7 * MEGABYTE + 1] ^= 1  # a page that write(2) had made dirty
        site.settle()


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_direct_writes(site: Site, kind: str) -> None:
    with protecting(site, kind, "trace") as path, mmap.mmap(-1, 65536) as buffer:
        before = _read(site)
        fd = os.open(path, os.O_RDWR | os.O_DIRECT)
        try:
            for at in range(5):
                buffer[:] = os.urandom(65536)
                os.pwrite(fd, buffer, at * 2 * MEGABYTE)
                site.settle()
        finally:
            os.close(fd)
        assert _read(site) - before <= MEGABYTE


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_asynchronous_writes(site: Site, kind: str) -> None:
    """io_submit(2) raises no fanotify event at all."""
    with protecting(site, kind, "trace") as path, mmap.mmap(-1, 8192) as buffer:
        fd = os.open(path, os.O_RDWR | os.O_DIRECT)
        try:
            for at in range(3):
                buffer[:] = os.urandom(8192)
                submit(fd, buffer, at * MEGABYTE)
                site.settle()
        finally:
            os.close(fd)


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_lost_records_end_in_a_comparison_of_everything(site: Site, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracefs, "PER_CPU_MIN_BYTES", 4096)
    monkeypatch.setattr(tracefs, "PER_CPU_MAX_BYTES", 4096)
    with protecting(site, kind, "trace") as path, path.open("r+b", buffering=0) as opened:
        some = random.Random(3)
        for _ in range(3000):
            os.pwrite(opened.fileno(), some.randbytes(9), some.randrange(SIZE))
        site.settle()
        os.pwrite(opened.fileno(), b"x", 0)
        site.settle()


_WRITER = """
import mmap, os, random, sys, time
path, seed, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
some, end = random.Random(seed), time.monotonic() + seconds
fd = os.open(path, os.O_RDWR)
size = os.fstat(fd).st_size
mapping = mmap.mmap(fd, size) if seed % 2 else None
while time.monotonic() < end:
    at, length = some.randrange(size - 20000), some.choice([1, 100, 5000, 20000])
    kind = some.randrange(4)
    if kind == 0 and mapping is not None:
        mapping[at : at + length] = some.randbytes(length)
    elif kind == 1 and mapping is not None:
        mapping.flush()
    elif kind == 2:
        os.lseek(fd, at, 0)
        os.write(fd, some.randbytes(length))
    else:
        os.pwrite(fd, some.randbytes(length), at)
    if some.random() < 0.1:
        time.sleep(some.random() / 20)
"""


@pytest.mark.parametrize(("kind", "ranges"), [*WAYS[:2], ("tmpfs", "trace")])
def test_many_writers(site: Site, kind: str, ranges: str) -> None:
    with protecting(site, kind, ranges) as path:
        for turn in range(2):
            seeds = range(4 * turn, 4 * turn + 4)
            writers = [subprocess.Popen([sys.executable, "-c", _WRITER, path, str(seed), "2"]) for seed in seeds]
            assert [writer.wait() for writer in writers] == [0] * 4
            site.settle(40)


CUTS: list[Callable[[Path], object]] = [
    lambda path: (os.truncate(path, SIZE // 2 + 77), os.truncate(path, SIZE)),
    lambda path: os.truncate(path, 3 * MEGABYTE + 5),
    lambda path: os.truncate(path, 20 * MEGABYTE),
    lambda path: path.write_bytes(b"new"),
    lambda path: path.write_bytes(os.urandom(5 * MEGABYTE)),
]


@pytest.mark.parametrize(("kind", "ranges"), WAYS[:3])
def test_cut_and_grown(site: Site, kind: str, ranges: str) -> None:
    with protecting(site, kind, ranges) as path:
        for cut in CUTS:
            cut(path)
            site.settle()


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_a_new_file_with_the_number_of_an_old_one(site: Site, kind: str) -> None:
    """A sparse one, written at another place: what the old one had is gone."""
    with protecting(site, kind, "trace") as path:
        for turn in range(5):
            path.unlink()
            with path.open("wb") as opened:
                opened.seek((turn + 1) * MEGABYTE)
                opened.write(os.urandom(MEGABYTE))
            site.settle()


def test_what_is_mapped_is_found(tmp_path: Path) -> None:
    path = tmp_path / "mapped"
    path.write_bytes(bytes(10000))
    key = (path.stat().st_dev, path.stat().st_ino)
    mappings = mapped.Mappings()

    def found() -> bool:
        number = mappings.files()[0]
        mappings._next = 0.0
        wait_for(lambda: mappings.files()[0] > number)
        return key in mappings.files()[1]

    with path.open("r+b") as opened:
        with mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ):
            assert not found()
        with mmap.mmap(opened.fileno(), 0, flags=mmap.MAP_PRIVATE):
            assert not found()
        with mmap.mmap(opened.fileno(), 0):
            path.unlink()
            assert found()
    assert not found()
