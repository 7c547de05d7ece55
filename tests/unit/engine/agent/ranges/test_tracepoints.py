"""Ranges from the kernel's trace events, on real file systems: whatever changed lies in what is named."""

from __future__ import annotations

import ctypes
import mmap
import os
import random
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from engine.agent.ranges import strangers, tracefs
from engine.agent.ranges.base import END, Ranges
from engine.agent.ranges.file import COMPLETED_SECONDS, HOT_SECONDS, QUIET_SECONDS, SETTLE_SECONDS
from engine.agent.ranges.tracefs import NoTracing
from engine.agent.ranges.tracepoints import TOUCHED_ROUNDS, Tracepoints
from engine.env.clock import Clock
from tests.mounts import mounted

SIZE = 8 << 20
PAGE = mmap.PAGESIZE
PUNCH, COLLAPSE, ZERO, INSERT, KEEP = 2, 8, 16, 32, 1
_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


class Later(Clock):
    """The machine's clock, put forward by a test."""

    ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


class Traced:
    """A file, what it was at the last look, and what the trace says of it."""

    def __init__(self, writes: Tracepoints, clock: Later, path: Path) -> None:
        self.writes, self.clock, self.path = writes, clock, path
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT)
        os.pwrite(self.fd, random.Random(1).randbytes(SIZE), 0)
        os.fsync(self.fd)
        self.key = (os.fstat(self.fd).st_dev, os.fstat(self.fd).st_ino)
        assert self.ranges() is None
        self.looked()
        self.writes.take()
        assert self.ranges() == []
        self.looked()

    def ranges(self) -> Ranges | None:
        self.writes.take()
        self.size = os.fstat(self.fd).st_size
        return self.writes.of(*self.key, self.fd, self.size)

    def looked(self) -> None:
        self.content = self.path.read_bytes()
        self.writes.looked(*self.key)

    def look(self) -> int:
        """Check that what changed lies in what is named, or beyond the size that was known; how many bytes are."""
        before = self.content
        ranges = self.ranges()
        assert ranges is not None
        self.looked()
        now = bytearray(self.content)
        for offset, length in [*ranges, (len(before), END)]:
            now[offset : min(offset + length, len(now))] = before[offset : offset + length].ljust(
                max(0, min(offset + length, len(now)) - offset), b"\0"
            )
        assert bytes(now[: len(before)]) == before[: len(now)]
        return sum(length for _, length in ranges)

    def close(self) -> None:
        os.close(self.fd)


@contextmanager
def tracing(buffer_bytes: int = 1 << 20) -> Iterator[tuple[Tracepoints, Later]]:
    clock = Later()
    try:
        writes = Tracepoints(clock, buffer_bytes)
    except NoTracing as error:
        pytest.skip(str(error))
    with closing(writes):
        yield writes, clock


@pytest.fixture(scope="module", params=["ext4", "xfs"])
def filesystem(request: pytest.FixtureRequest) -> Iterator[Path]:
    with mounted(request.param) as path:
        yield path


@pytest.fixture
def traced(filesystem: Path) -> Iterator[Traced]:
    with tracing() as (writes, clock), closing(Traced(writes, clock, filesystem / "file")) as traced:
        yield traced
    (filesystem / "file").unlink()


def _fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    assert _libc.fallocate(fd, mode, offset, length) == 0, os.strerror(ctypes.get_errno())


def _direct(traced: Traced, offset: int) -> None:
    fd = os.open(traced.path, os.O_RDWR | os.O_DIRECT)
    try:
        with mmap.mmap(-1, 16384) as buffer:
            buffer.write(os.urandom(16384))
            assert os.pwrite(fd, buffer, offset) == 16384
    finally:
        os.close(fd)


CHANGES: dict[str, tuple[Callable[[Traced], object], int]] = {
    "a byte": (lambda t: os.pwrite(t.fd, b"x", 100_000), PAGE),
    "many": (lambda t: [os.pwrite(t.fd, b"xyz", at * 65536 + 4095) for at in range(100)], 200 * PAGE),
    "growth and a change inside": (lambda t: (os.pwrite(t.fd, b"x", 0), os.pwrite(t.fd, b"y" * 9, SIZE + 7)), PAGE * 2),
    "far beyond the end": (lambda t: os.pwrite(t.fd, b"y" * 9, SIZE * 3), PAGE),
    "a megabyte": (lambda t: os.pwrite(t.fd, os.urandom(1 << 20), 3_000_000), (1 << 20) + PAGE),
    "cut": (lambda t: os.ftruncate(t.fd, SIZE // 2 + 5), 2 * PAGE),
    "cut and grown": (lambda t: (os.ftruncate(t.fd, SIZE - 100_000), os.ftruncate(t.fd, SIZE)), 110_000),
    "cut, written, grown": (
        lambda t: (os.ftruncate(t.fd, 5), os.pwrite(t.fd, b"abc", 77), os.ftruncate(t.fd, SIZE)),
        SIZE,
    ),
    "emptied": (lambda t: (os.ftruncate(t.fd, 0), os.pwrite(t.fd, b"abc", 0)), PAGE),
    "direct": (lambda t: _direct(t, 65536), 16384),
    "direct at the beginning": (lambda t: _direct(t, 0), 16384),
    "direct beyond the end": (lambda t: _direct(t, SIZE + 65536), 16384),
    "copied into": (lambda t: os.copy_file_range(t.fd, t.fd, 20000, 0, 4_000_000), 40000),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changed_is_named_and_little_else(traced: Traced, change: str) -> None:
    do, bytes_max = CHANGES[change]
    do(traced)
    assert traced.look() <= bytes_max


@pytest.mark.parametrize("mode", [KEEP | PUNCH, ZERO, COLLAPSE, INSERT])
def test_what_fallocate_changes_is_named(traced: Traced, mode: int) -> None:
    _fallocate(traced.fd, mode, 1 << 20, 1 << 20)
    assert traced.look() >= 1 << 20


def test_what_is_traced_before_it_happens_stays_for_a_later_look(traced: Traced) -> None:
    if os.statvfs(traced.path).f_fsid == 0 or traced.writes._traced.devices[traced.key[0]].kind == "xfs":  # type: ignore[union-attr]
        pytest.skip("xfs holds its lock while it happens")
    _fallocate(traced.fd, KEEP | PUNCH, 1 << 20, 1 << 20)
    assert traced.look() == 1 << 20
    assert traced.look() == 1 << 20
    assert not traced.writes.dirty()
    traced.clock.ahead = SETTLE_SECONDS + 1
    assert traced.writes.dirty() == {traced.key}
    assert traced.look() == 1 << 20
    assert traced.ranges() == []


def test_a_direct_write_is_looked_at_once_more(traced: Traced) -> None:
    _direct(traced, 65536)
    assert traced.look() == 16384
    traced.clock.ahead = COMPLETED_SECONDS + 0.1
    assert traced.writes.dirty() == {traced.key}
    assert traced.look() == 16384
    assert traced.ranges() == []


def test_stores_through_a_mapping_are_named_until_the_page_is_clean(traced: Traced) -> None:
    os.fsync(traced.fd)
    with mmap.mmap(traced.fd, 0) as mapping:
        mapping[5 << 20] = mapping[5 << 20] ^ 1
        traced.writes.take()
        traced.clock.ahead += QUIET_SECONDS + 0.01
        assert traced.writes.dirty() == {traced.key}
        assert traced.look() >= PAGE
        assert not traced.writes.dirty()
        mapping[(5 << 20) + 1] ^= 1  # the page is dirty: nothing tells of this
        traced.clock.ahead += HOT_SECONDS
        assert traced.writes.dirty() == {traced.key}
        traced.look()
        mapping[(5 << 20) + 2] ^= 1
        mapping.flush()
        traced.clock.ahead += HOT_SECONDS
        assert traced.writes.dirty() == {traced.key}
        assert traced.look() >= PAGE
        traced.looked()
        mapping[(5 << 20) + 3] ^= 1
        assert traced.look() >= PAGE


def test_a_page_that_a_write_made_dirty_is_named_by_scanning(traced: Traced) -> None:
    with mmap.mmap(traced.fd, 0) as mapping:
        os.pwrite(traced.fd, b"x", 6 << 20)
        traced.look()
        mapping[(6 << 20) + 1] ^= 1
        assert traced.writes.scan(*traced.key)
        assert traced.look() >= PAGE


def test_a_store_into_a_page_that_a_write_made_dirty_is_in_the_next_look(traced: Traced) -> None:
    """The mapping is gone by then, and another page's range is known: it must not stand for the whole."""
    os.pwrite(traced.fd, b"x", 6 << 20)
    traced.look()
    traced.looked()
    with mmap.mmap(traced.fd, 0) as mapping:
        mapping[(6 << 20) + 1] ^= 1
    os.pwrite(traced.fd, b"x", 1 << 20)
    found = traced.ranges()
    assert any(at <= 1 << 20 < at + length for at, length in found)
    assert any(at <= 6 << 20 < at + length for at, length in found)
    traced.looked()
    for _ in range(TOUCHED_ROUNDS):
        traced.writes.mapped(set())
    os.fsync(traced.fd)
    traced.look()
    traced.looked()
    assert traced.ranges() == []


def test_what_others_touch_all_the_time_is_not_traced_until_it_is_asked_about(
    traced: Traced, filesystem: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strangers, "TAKES", 3)
    path = filesystem / "library"
    path.write_bytes(random.Random(2).randbytes(SIZE))
    fd = os.open(path, os.O_RDWR)
    key = (os.fstat(fd).st_dev, os.fstat(fd).st_ino)

    def touched() -> bool:
        for _ in range(TOUCHED_ROUNDS):
            traced.writes.mapped(set())
        with mmap.mmap(fd, 0) as mapping:
            assert mapping[6 << 20] >= 0
        traced.writes.take()
        return key in traced.writes._touched

    try:
        if not touched():
            pytest.skip("it does not show here that a mapping is touched")
        assert [touched() for _ in range(4)][2:] == [False, False]
        traced.writes.of(*key, fd, SIZE)
        assert key in traced.writes._touched, "it may have been touched before"
        traced.writes.looked(*key)
        assert [touched() for _ in range(5)] == [True] * 5
    finally:
        os.close(fd)


def test_a_write_makes_nothing_hot(traced: Traced) -> None:
    for at in range(0, SIZE, 100_000):
        os.pwrite(traced.fd, b"x" * 10_000, at)
    traced.look()
    traced.clock.ahead += HOT_SECONDS + 1
    assert not traced.writes.dirty()


def test_lost_records_make_everything_unknown(filesystem: Path) -> None:
    with tracing(4096) as (writes, clock), closing(Traced(writes, clock, filesystem / "file")) as traced:
        for at in range(0, SIZE, 4096):
            os.pwrite(traced.fd, b"x", at)
        assert traced.ranges() is None
        traced.looked()
        os.pwrite(traced.fd, b"y", 5)
        assert traced.look() == PAGE


def test_a_look_that_failed_leaves_its_ranges(traced: Traced) -> None:
    os.pwrite(traced.fd, b"x", 5)
    assert traced.ranges() == [(0, PAGE)]
    os.pwrite(traced.fd, b"x", 5 * PAGE)
    assert traced.ranges() == [(0, PAGE), (5 * PAGE, PAGE)]


def test_instances_of_the_dead_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    with tracing() as (writes, _):
        instances = writes._traced.instance._root / "instances"
        stale = instances / "bcs-4194305-00"  # beyond any pid
        another = instances / "bcs-1-00"  # of another namespace, whose process 1 is gone
        stale.mkdir()
        another.mkdir()
        with tracing():
            assert not stale.exists()
            assert another.exists()  # it may have begun just now
        monkeypatch.setattr(tracefs, "BEGINNING_SECONDS", -60.0)
        with tracing():
            assert not another.exists()
        assert len([each for each in instances.iterdir() if each.name.startswith(f"bcs-{os.getpid()}-")]) == 1
