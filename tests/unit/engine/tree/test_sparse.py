from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from engine.tree import sparse
from engine.tree.sparse import data_ranges, make_hole

MIB = 1 << 20


@pytest.fixture
def fd(tmp_path: Path):  # type: ignore[no-untyped-def]
    opened = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield opened
    os.close(opened)


def read_through(fd: int, ranges: list[tuple[int, int]], size: int) -> bytes:
    """What a reader of the ranges alone puts together."""
    content = bytearray(size)
    for offset, length in ranges:
        content[offset : offset + length] = os.pread(fd, length, offset)
    return bytes(content)


def test_ranges_hold_all_data_and_leave_out_the_holes(fd: int) -> None:
    os.pwrite(fd, b"a" * 5000, 0)
    os.pwrite(fd, b"b" * 100, 2 * MIB)
    os.ftruncate(fd, 4 * MIB)
    ranges = data_ranges(fd, 4 * MIB)
    assert sum(length for _, length in ranges) < MIB
    assert ranges == sorted(ranges) and all(length > 0 for _, length in ranges)
    assert read_through(fd, ranges, 4 * MIB) == os.pread(fd, 4 * MIB, 0)


def test_an_empty_file_a_hole_and_a_dense_file(fd: int) -> None:
    assert data_ranges(fd, 0) == []
    os.ftruncate(fd, MIB)
    assert data_ranges(fd, MIB) == []
    os.pwrite(fd, b"x" * MIB, 0)
    assert data_ranges(fd, MIB) == [(0, MIB)]
    assert data_ranges(fd, 100) == [(0, 100)]


def test_a_file_that_shrank_ends_where_it_ends_now(fd: int) -> None:
    os.pwrite(fd, b"x" * 4096, 0)
    assert data_ranges(fd, MIB) == [(0, 4096)]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_that_cannot_tell_answers_with_the_whole_file(
    fd: int, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(fd: int, at: int, how: int) -> int:
        raise OSError(number, "no")

    monkeypatch.setattr(os, "lseek", refuse)
    assert data_ranges(fd, 77) == [(0, 77)]


def test_an_io_error_is_not_taken_for_a_hole(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(fd: int, at: int, how: int) -> int:
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr(os, "lseek", fail)
    with pytest.raises(OSError, match="no"):
        data_ranges(fd, 77)


def test_a_hole_reads_as_zeros_takes_no_space_and_keeps_the_size(fd: int) -> None:
    os.pwrite(fd, b"x" * MIB, 0)
    make_hole(fd, 4096, MIB)
    assert os.fstat(fd).st_size == MIB
    assert os.pread(fd, MIB, 0) == b"x" * 4096 + bytes(MIB - 4096)
    assert os.fstat(fd).st_blocks * 512 < MIB // 2


class _NoFallocate:
    def fallocate(self, *args: int) -> int:
        sparse.ctypes.set_errno(errno.ENOTSUP)
        return -1


def test_where_holes_cannot_be_made_zeros_are_written(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse, "_libc", _NoFallocate())
    os.pwrite(fd, b"x" * (3 * MIB), 0)
    make_hole(fd, 10, 2 * MIB)
    assert os.pread(fd, 3 * MIB, 0) == b"x" * 10 + bytes(2 * MIB) + b"x" * (MIB - 10)
    make_hole(fd, 3 * MIB - 1, 100)
    assert os.fstat(fd).st_size == 3 * MIB


def test_a_hole_in_a_file_that_is_not_open_for_writing_raises(tmp_path: Path, fd: int) -> None:
    reading = os.open(tmp_path / "file", os.O_RDONLY)
    with pytest.raises(OSError, match="Bad file descriptor"):
        make_hole(reading, 0, 10)
    os.close(reading)
