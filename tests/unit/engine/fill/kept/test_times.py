"""A file's own time while a fill writes to it, and after its filler died in the middle."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.fill.flow.storing import store
from engine.fill.kept.times import Left, OwnTimes, Times
from engine.fill.tree.privileges import CAPABILITY, Privileges
from engine.model.xattrs import encode

OWN_NS = 1_500_000_000_123_456_789
CONTENT = os.urandom(65536)


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, len(CONTENT))
    os.utime(fd, ns=(5, OWN_NS))
    yield fd
    os.close(fd)


def test_the_time_is_the_files_own_while_it_is_filled_and_any_other_after(tmp_path: Path, fd: int) -> None:
    own = OwnTimes(tmp_path / "times")
    assert own.status(3, fd).st_mtime_ns == OWN_NS
    times = Times(tmp_path / "times")
    with times.kept(3, os.fstat(fd)):
        os.pwrite(fd, CONTENT, 0)
        now = os.fstat(fd)
        found = own.status(3, fd)
        assert now.st_mtime_ns != found.st_mtime_ns == OWN_NS
        assert found.st_mtime == pytest.approx(OWN_NS / 1e9)
        for name in ("st_mode", "st_ino", "st_dev", "st_size", "st_uid", "st_ctime_ns", "st_atime_ns", "st_rdev"):
            assert getattr(found, name) == getattr(now, name), name
        assert own.status(4, fd).st_mtime_ns == now.st_mtime_ns, "another file's time is what it is"
    assert own.status(3, fd).st_mtime_ns == os.fstat(fd).st_mtime_ns, "a write of somebody else's is no fill"


def test_the_capability_is_there_while_a_write_has_taken_it(tmp_path: Path, fd: int) -> None:
    times, own = Times(tmp_path / "times"), OwnTimes(tmp_path / "times")
    had = Privileges(0, b"capability")
    whole = encode({CAPABILITY.encode(): had.capability, b"user.x": b"1"})
    without = encode({b"user.x": b"1"})
    with times.kept(3, os.fstat(fd), had):
        assert own.xattrs(3, lambda: without) == whole == own.xattrs(3, lambda: whole)
        assert own.xattrs(4, lambda: without) == without, "another file's are what they are"
    assert own.xattrs(3, lambda: without) == without, "what somebody else's write has taken is gone"


def test_who_is_killed_before_the_time_is_put_back_leaves_what_it_was(tmp_path: Path, fd: int) -> None:
    times, own = Times(tmp_path / "times"), OwnTimes(tmp_path / "times")
    child = os.fork()
    if child == 0:
        with times.kept(7, os.fstat(fd)):
            os.pwrite(fd, CONTENT, 0)
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert os.fstat(fd).st_mtime_ns != OWN_NS == own.status(7, fd).st_mtime_ns
    successor = Times(tmp_path / "times")
    assert successor.left == [Left(7, OWN_NS, len(CONTENT))]
    successor.put_back()
    assert successor.left == Times(tmp_path / "times").left == []


def test_nobody_who_looks_meanwhile_sees_the_time_of_a_fill(tmp_path: Path, fd: int) -> None:
    times, own = Times(tmp_path / "times"), OwnTimes(tmp_path / "times")
    over = threading.Event()

    def fill() -> None:
        for _ in range(2000):
            before = os.fstat(fd)
            with times.kept(0, before):
                store(fd, 0, CONTENT[:4096], [(0, 4096)], [], before=before)
        over.set()

    filler = threading.Thread(target=fill)
    filler.start()
    seen = set()
    while not over.is_set():
        seen.add(own.status(0, fd).st_mtime_ns)
    filler.join()
    assert seen == {OWN_NS}
