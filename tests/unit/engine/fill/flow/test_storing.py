"""Bytes brought into a file that others cut in the very moment of the write."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from engine.fill.flow import storing
from engine.fill.flow.storing import ALONE, CAREFUL, WATCHING, store
from engine.fill.kept.times import Times
from engine.fill.life.process import put_back
from engine.fill.tree import privileges
from tests.sample_tree import CAPABILITY

SIZE = 100_000
CONTENT = os.urandom(SIZE)


@pytest.fixture
def fd(tmp_path: Path) -> Any:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, SIZE)
    os.utime(fd, ns=(5, 7))
    yield fd
    os.close(fd)


def now(fd: int) -> bytes:
    return os.pread(fd, 2 * SIZE, 0)


def cut_before(monkeypatch: pytest.MonkeyPatch, name: str, fd: int, size: int) -> None:
    """The file is cut just before one of the ways of writing is taken."""
    original = getattr(storing, name)

    def cut(*arguments: Any) -> Any:
        os.ftruncate(fd, size)
        return original(*arguments)

    monkeypatch.setattr(storing, name, cut)


@pytest.mark.parametrize("way", [ALONE, WATCHING, CAREFUL])
@pytest.mark.parametrize(("start", "end"), [(0, SIZE), (8192, 65536), (65536, SIZE), (0, 100)])
def test_all_of_it_is_there_and_the_time_stays(fd: int, way: str, start: int, end: int) -> None:
    assert store(fd, start, CONTENT[start:end], [(start, end)], [], way) is None
    assert now(fd) == bytes(start) + CONTENT[start:end] + bytes(SIZE - end)
    assert os.fstat(fd).st_mtime_ns == 7


@pytest.mark.parametrize("way", [ALONE, WATCHING])
def test_spans_are_kept_to_and_holes_are_punched(fd: int, way: str) -> None:
    os.pwrite(fd, b"x" * SIZE, 0)
    assert store(fd, 0, CONTENT, [(0, 4000), (8000, 20480), (40960, SIZE)], [(20480, 40960)], way) is None
    right = bytearray(CONTENT)
    right[4000:8000] = b"x" * 4000
    right[20480:40960] = bytes(20480)
    assert now(fd) == right


@pytest.mark.parametrize(("start", "end"), [(0, SIZE), (8192, 65536), (65536, SIZE)])
def test_a_file_that_is_emptied_before_the_write_stays_empty(
    fd: int, monkeypatch: pytest.MonkeyPatch, start: int, end: int
) -> None:
    cut_before(monkeypatch, "write_extent", fd, 0)
    assert store(fd, start, CONTENT[start:end], [(start, end)], [], WATCHING) == 0
    assert now(fd) == b""


def test_a_file_that_is_emptied_before_its_last_page_stays_empty(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_before(monkeypatch, "write_within", fd, 0)
    assert store(fd, 0, CONTENT, [(0, SIZE)], [], WATCHING) == 0
    assert now(fd) == b""


def test_a_small_file_that_is_emptied_stays_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fd = os.open(tmp_path / "small", os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, 100)
    cut_before(monkeypatch, "write_within", fd, 0)
    assert store(fd, 0, CONTENT[:100], [(0, 100)], [], WATCHING) == 0
    assert now(fd) == b""
    os.close(fd)


def test_a_file_that_is_cut_is_filled_up_to_there(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_before(monkeypatch, "write_within", fd, 50_000)
    assert store(fd, 0, CONTENT, [(0, SIZE)], [], CAREFUL) == 50_000
    assert now(fd) == CONTENT[:50_000]


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def with_capability(fd: int, tmp_path: Path) -> bytes:
    try:
        os.setxattr(fd, privileges.CAPABILITY, CAPABILITY)
    except OSError:
        pytest.skip("this file system keeps no capabilities")
    return CAPABILITY


@needs_root
@pytest.mark.parametrize("rebooted", [False, True])
def test_who_follows_a_filler_killed_before_it_gave_privileges_again_does_so(
    tmp_path: Path, fd: int, rebooted: bool
) -> None:
    capability = with_capability(fd, tmp_path)
    os.utime(fd, ns=(5, 7))
    times, before = Times(tmp_path / "times"), os.fstat(fd)
    child = os.fork()
    if child == 0:
        had = privileges.privileges_of(fd, before)
        with times.kept(7, before, had):
            vars(storing)["crash"] = ended_there
            store(fd, 0, CONTENT, [(0, SIZE)], [], ALONE, before, had)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 137
    assert privileges.privileges_of(fd, os.fstat(fd)) == privileges.NONE, "the write has taken it"
    path = tmp_path / "file"
    reached: Any = type("Reached", (), {"open": lambda self, number: os.open(path, os.O_RDWR)})()
    os.chown(fd, 1000, 1000)
    put_back(Times(tmp_path / "times"), reached, guarded=False, rebooted=rebooted)
    assert not privileges.privileges_of(fd, os.fstat(fd)), "its owner may have written there"
    os.chown(fd, 0, 0)
    again = child_times(tmp_path, before, capability)
    put_back(again, reached, guarded=not rebooted, rebooted=rebooted)
    assert os.getxattr(fd, privileges.CAPABILITY) == capability
    assert (os.fstat(fd).st_mtime_ns == 7) is not rebooted, "of times nothing is known after a power cut"


def ended_there(place: str) -> None:
    if place == "filled-before-its-privileges":
        os._exit(137)


def child_times(tmp_path: Path, before: os.stat_result, capability: bytes) -> Times:
    """As a filler leaves them that is killed in the middle."""
    path = tmp_path / "again"
    child = os.fork()
    if child == 0:
        with Times(path).kept(7, before, privileges.Privileges(0, capability)):
            os._exit(0)
    os.waitpid(child, 0)
    return Times(path)


@needs_root
def test_set_user_id_outlives_the_fills_of_who_is_not_root(tmp_path: Path) -> None:
    path = tmp_path / "tool"
    path.write_bytes(bytes(SIZE))
    os.chown(path, 65534, 65534)
    os.chmod(path, 0o6755)
    fd = os.open(path, os.O_RDWR)
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        store(fd, 0, CONTENT, [(0, SIZE)], [], ALONE)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert os.fstat(fd).st_mode & 0o7777 == 0o6755 and now(fd) == CONTENT
    os.close(fd)
