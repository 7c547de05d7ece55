"""Bytes brought into a file that others cut in the very moment of the write."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from engine.fill.flow import storing
from engine.fill.flow.storing import ALONE, CAREFUL, WATCHING, store

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
