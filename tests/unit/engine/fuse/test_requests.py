"""The requests of a mount that can be changed: read as linux/fuse.h has them."""

from __future__ import annotations

import os
import struct

import pytest

from engine.fuse import protocol as fuse
from engine.fuse import requests


def _read(raw: bytes) -> memoryview:
    return memoryview(raw)


def test_setattr_is_read_field_by_field() -> None:
    raw = struct.pack("=IIQQQQQQIIIIIIII", 0x3FF, 0, 5, 6, 7, 8, 9, 10, 11, 12, 13, 0o644, 0, 14, 15, 0)
    assert len(raw) == requests.SETATTR_IN.size == 88
    wanted = requests.setattr_of(_read(raw))
    assert (wanted.valid, wanted.handle, wanted.size, wanted.mode) == (0x3FF, 5, 6, 0o644)
    assert (wanted.atime, wanted.mtime, wanted.uid, wanted.gid) == ((8, 11), (9, 12), 14, 15)


def test_attributes_are_what_stat_says(tmp_path: os.PathLike[str]) -> None:
    os.utime(tmp_path, ns=(-1, 1_500_000_001))
    found = os.stat(tmp_path)
    packed = requests.attributes(found, 77, 3)
    assert len(packed) == 88
    assert struct.unpack_from("=QQQqqq", packed)[:2] == (77, found.st_size)
    assert struct.unpack_from("=qq", packed, 24) == (-1, 1)
    assert struct.unpack_from("=II", packed, 48) == (999_999_999, 500_000_001)
    assert struct.unpack_from("=IIII", packed, 60) == (found.st_mode, 3, found.st_uid, found.st_gid)


def test_names_are_cut_at_their_ends() -> None:
    assert requests.create_of(_read(struct.pack("=IIII", 2, 0o644, 0o22, 0) + b"a\0")) == (2, 0o644, 0o22, b"a")
    assert requests.mkdir_of(_read(struct.pack("=II", 0o755, 0o22) + b"\xff\0")) == (0o755, 0o22, b"\xff")
    assert requests.link_of(_read(struct.pack("=Q", 9) + b"b\0")) == (9, b"b")
    assert requests.rename_of(requests.RENAME, _read(struct.pack("=Q", 9) + b"old\0new\0")) == (9, 0, b"old", b"new")
    raw = struct.pack("=QII", 9, 2, 0) + b"old\0new\0"
    assert requests.rename_of(requests.RENAME2, _read(raw)) == (9, 2, b"old", b"new")


@pytest.mark.parametrize(("extended", "own"), [(False, 0), (True, 1)])
def test_values_of_xattrs_may_hold_zero_bytes(extended: bool, own: int) -> None:
    head = struct.pack("=IIII", 4, 1, own, 0) if extended else struct.pack("=II", 4, 1)
    read = requests.setxattr_of(_read(head + b"user.x\0a\0b\0"), extended)
    assert read == (b"user.x", b"a\0b\0", 1, own)


@pytest.mark.parametrize("numbers", [(1, 3), (259, 70_000), (4095, 1_048_575)])
def test_devices_come_as_they_go(numbers: tuple[int, int]) -> None:
    packed = fuse.kernel_device(os.makedev(*numbers))
    _, rdev, _, _ = requests.mknod_of(_read(struct.pack("=IIII", 0o20644, packed, 0, 0) + b"n\0"))
    assert (os.major(rdev), os.minor(rdev)) == numbers


def test_flags_of_init_have_64_bits() -> None:
    offered = struct.pack("=IIIII", 7, 45, 1 << 17, requests.INIT_EXT | 1, 1 << 5) + bytes(44)
    assert requests.offered(_read(offered)) == (7, 45, 1 << 17, requests.INIT_EXT | 1 | requests.PASSTHROUGH)
    answer = requests.agreed(45, 1 << 22, requests.PASSTHROUGH | 1, 1 << 20)
    assert len(answer) == 64
    assert struct.unpack_from("=IIII", answer) == (7, 40, 1 << 20, 1)
    assert struct.unpack_from("=III", answer, 20)[0] == 1 << 20
    assert struct.unpack_from("=II", answer, 32) == (1 << 5, 1)


def test_who_is_forgotten() -> None:
    assert requests.forgotten(fuse.FORGET, 5, _read(struct.pack("=Q", 2))) == [(5, 2)]
    batch = struct.pack("=IIQQQQ", 2, 0, 5, 1, 6, 3)
    assert requests.forgotten(fuse.BATCH_FORGET, 0, _read(batch)) == [(5, 1), (6, 3)]
