"""FUSE's bytes: sizes as linux/fuse.h has them, and listings that are cut only between entries."""

from __future__ import annotations

import os
import struct

import pytest

from engine.fuse import protocol as fuse
from engine.recovery.mount.listing import line, listing
from engine.recovery.mount.rows import Row

_PLUS = fuse.ENTRY_BYTES


def row(name: bytes) -> Row:
    return Row(name, 0, 0o100644, 0, 0, 0, 0, 0, 1, 0)


def _request(opcode: int, node: int, body: bytes) -> bytes:
    return struct.pack("=IIQQIIIHH", 40 + len(body), opcode, 7, node, 1, 2, 3, 0, 0) + body


def test_sizes_are_the_kernels() -> None:
    assert (fuse.IN_BYTES, fuse.OUT_BYTES, fuse.ENTRY_BYTES, fuse.DIRENT_BYTES) == (40, 16, 128, 24)
    assert len(fuse.agreed(1 << 20, 0)) == 64
    assert len(fuse.attributes_out(fuse.Attributes(1, 0o40755).packed(), 1)) == 104
    assert len(fuse.statfs(1, 1)) == 80


def test_a_request_is_read_whole_or_not_at_all() -> None:
    raw = memoryview(_request(fuse.LOOKUP, 5, b"name\0"))
    found = fuse.read_request(raw)
    assert (found.opcode, found.unique, found.node, fuse.name_of(found.body)) == (fuse.LOOKUP, 7, 5, b"name")
    for end in (0, 39, len(raw) - 1):
        with pytest.raises(ValueError, match="request of"):
            fuse.read_request(raw[:end])


@pytest.mark.parametrize("numbers", [(1, 3), (8, 1), (259, 70_000), (4095, 1_048_575)])
def test_device_numbers_are_packed_as_the_kernel_packs_them(numbers: tuple[int, int]) -> None:
    major, minor = numbers
    packed = fuse.kernel_device(os.makedev(major, minor))
    # new_decode_dev() of linux/kdev_t.h
    assert ((packed & 0xFFF00) >> 8, (packed & 0xFF) | ((packed >> 12) & 0xFFF00)) == numbers


def test_times_before_1970_keep_their_nanoseconds() -> None:
    packed = fuse.Attributes(1, 0o100644, mtime_ns=-1).packed()
    assert struct.unpack_from("=qqqIII", packed, 24) == (-1, -1, -1, 999_999_999, 999_999_999, 999_999_999)


@pytest.mark.parametrize("plus", [False, True])
@pytest.mark.parametrize("size", [200, 512, 4096, 1 << 20])
def test_a_listing_is_cut_between_entries_and_goes_on_where_it_was_cut(plus: bool, size: int) -> None:
    names = [b"n" * (number % 60 + 1) + b"%d" % number for number in range(300)]
    made = listing(9, 8, [(row(name), 10 + at) for at, name in enumerate(names)], 1)
    seen: list[bytes] = []
    offset = 0
    while part := made.part(offset, size + _PLUS, plus):
        assert len(part) <= size + _PLUS
        at = 0
        while at < len(part):
            at += _PLUS if plus else 0
            _, offset, length, _ = struct.unpack_from("=QQII", part, at)
            seen.append(part[at + 24 : at + 24 + length])
            at += 24 + length + -length % 8
        assert at == len(part)
    assert seen == [b".", b"..", *names]


def test_a_line_begins_with_what_a_lookup_answers() -> None:
    stated = fuse.Attributes(11, 0o20755, 5000, -1, 7, 8, 3, os.makedev(4, 64), 4000)
    shown = Row(b"name", 99, 0o20755, 7, 8, 5000, -1, stated.rdev, 3, 4000)
    found = line(shown, 11, 5, 60)
    assert found[: fuse.ENTRY_BYTES] == fuse.entry(11, stated.packed(), 60, 60)
    assert found[fuse.ENTRY_BYTES :] == fuse.dirent(11, 5, b"name", 0o20755)
    unbelieved = listing(9, 8, [(shown, 11)], 0)
    assert unbelieved.plus.endswith(bytes(fuse.ENTRY_BYTES) + found[fuse.ENTRY_BYTES :].replace(b"\5", b"\3", 1))
