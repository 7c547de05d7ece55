"""Reading a restored tree back: what counts as different, and zeros that are not."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from engine.tree.attributes import read_attributes
from engine.tree.readback import between, differing, first_not_zero, is_one
from engine.tree.sparse import data_ranges

_HOLE = 1 << 20


def _sparse(path: Path, *offsets: int, size: int) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, size)
    for offset in offsets:
        os.pwrite(fd, b"x", offset)
    return fd


def test_every_attribute_that_differs_is_named(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"four")
    wanted = read_attributes(os.fsencode(path))
    there = replace(wanted, size=5, mode=wanted.mode ^ 0o100, mtime_ns=1, uid=wanted.uid + 1, xattrs={b"user.a": b"1"})
    assert differing(there, wanted, excused=False, owners=True) == ["size", "mtime_ns", "xattrs", "mode", "uid"]
    assert differing(there, wanted, excused=False, owners=False) == ["size", "mtime_ns", "xattrs", "mode"]
    assert differing(there, wanted, excused=True, owners=True) == ["size"]
    assert differing(wanted, wanted, excused=False, owners=True) == []


def test_the_size_of_a_directory_is_its_file_systems_affair(tmp_path: Path) -> None:
    wanted = read_attributes(os.fsencode(tmp_path))
    assert differing(replace(wanted, size=wanted.size + 1), wanted, excused=False, owners=True) == []


def test_two_names_of_one_inode(tmp_path: Path) -> None:
    first, second, other = (os.fsencode(tmp_path / name) for name in ("first", "second", "other"))
    Path(os.fsdecode(first)).touch()
    Path(os.fsdecode(other)).touch()
    os.link(first, second)
    assert is_one(first, second)
    assert not is_one(first, other)
    assert not is_one(first, os.fsencode(tmp_path / "nowhere"))


def test_gaps_between_ranges() -> None:
    assert list(between([(10, 5), (12, 2), (20, 1)], 0, 30)) == [(0, 10), (15, 20), (21, 30)]
    assert list(between([(10, 5)], 10, 15)) == []
    assert list(between([(10, 5)], 4, None)) == [(4, 10)]
    assert list(between([], 0, 0)) == []


def test_the_first_byte_in_a_hole_is_found_wherever_it_is(tmp_path: Path) -> None:
    fd = _sparse(tmp_path / "file", 5 * _HOLE + 17, size=8 * _HOLE)
    try:
        assert first_not_zero(fd, 0, 5 * _HOLE) is None
        assert first_not_zero(fd, 6 * _HOLE, 8 * _HOLE) is None
        at = first_not_zero(fd, 3 * _HOLE, 8 * _HOLE)
        assert at is not None and 4 * _HOLE <= at <= 5 * _HOLE + 17
    finally:
        os.close(fd)


def test_ranges_of_data_from_the_middle_on(tmp_path: Path) -> None:
    fd = _sparse(tmp_path / "file", 0, 5 * _HOLE, size=8 * _HOLE)
    try:
        whole = data_ranges(fd, 8 * _HOLE)
        assert whole[0][0] == 0 and len(whole) == 2
        assert data_ranges(fd, 8 * _HOLE, 2 * _HOLE) == whole[1:]
        assert data_ranges(fd, 8 * _HOLE, 7 * _HOLE) == []
    finally:
        os.close(fd)
