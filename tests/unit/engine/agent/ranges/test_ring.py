"""The kernel's pages of trace records, taken apart: one recorded, and many made here."""

from __future__ import annotations

import base64
import struct
import sys
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as some

from engine.agent.ranges.ring import PageDamaged, PageShape, records

HEADER = (
    "\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;\n\tfield: local_t commit;\toffset:8;\tsize:8;\tsigned:1;\n"
    "\tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;\n\tfield: char data;\toffset:16;\tsize:4080;\tsigned:0;\n"
)
SHAPE = PageShape.parse(HEADER)
RECORDED = (
    b"c-m`k`7E0w#=wxl$N&ahK>UP-f#Fati1&cs07!}-`@(<>SfRM<KO0W90_v!0U(II4saC-cRqel)AHGZk+)^OOh@vMeQwBq=&;tXonwL;_"
    b"b3ied91BjhAE9a)p_t2;8K>G$XyK9diwURN?`Y<Zf>AIEM!_f;1*2dTjDk@x3P!;w7zOkM0ORvEga"
)
"""ext4_da_write_end of Linux 6.18 on x86_64: of one file four, the last 0.3 s after the others."""

little_endian = pytest.mark.skipif(sys.byteorder != "little", reason="made as little-endian machines have them")


@little_endian
def test_a_recorded_page() -> None:
    page = zlib.decompress(base64.b85decode(RECORDED))
    found, lost = records(page, SHAPE)
    assert not lost
    # common_type, common_flags, common_preempt_count, common_pid; dev; ino, pos, len, copied
    fields = [(time, struct.unpack_from("=HBBiI4xQqII", page, at)) for time, at in found]
    assert {(each[0], each[3]) for _, each in fields} == {(1252, 28098)}
    ours = [(time, each) for time, each in fields if each[5] == 16041495]
    assert [each[6:] for _, each in ours] == [(at, 5, 5) for at in (0, 10000, 20000, 70000)]
    times = [time for time, _ in ours]
    assert times == sorted(times)
    assert times[2] - times[0] < 1_000_000
    assert 300_000_000 <= times[3] - times[2] < 400_000_000


def _word(kind: int, delta: int) -> bytes:
    return struct.pack("=I", kind | delta << 5)


def _record(delta: int, data: bytes) -> bytes:
    if len(data) <= 28 * 4:
        return _word(len(data) // 4, delta) + data
    return _word(0, delta) + struct.pack("=I", len(data) + 4) + data


def _page(body: bytes, time: int = 0, flags: int = 0) -> bytes:
    return struct.pack("=QQ", time, len(body) | flags).ljust(16, b"\0") + body.ljust(4080, b"\xee")


_deltas = some.integers(0, (1 << 27) - 1)
_items = some.one_of(
    some.tuples(some.just("record"), _deltas, some.integers(1, 60)),
    some.tuples(some.just("extend"), _deltas, some.integers(0, 100)),
    some.tuples(some.just("thrown away"), some.integers(1, (1 << 27) - 1), some.integers(1, 20)),
)


@little_endian
@given(some.lists(_items, max_size=12), some.integers(0, 1 << 58), some.booleans(), some.booleans())
def test_every_record_is_found_at_its_time(
    items: list[tuple[str, int, int]], time: int, lost: bool, padded: bool
) -> None:
    body, expected, now = b"", [], time
    for number, (kind, delta, size) in enumerate(items):
        now += delta
        if kind == "record":
            data = struct.pack("=I", number) * size
            body += _record(delta, data)
            expected.append((now, data))
        elif kind == "extend":
            now += size << 27
            body += _word(30, delta) + struct.pack("=I", size)
        else:
            body += _word(29, delta) + struct.pack("=I", 4 * size) + bytes(4 * size - 4)
    if padded:
        body += _word(29, 0) + b"\xff" * 8
    page = _page(body, time, 1 << 31 if lost else 0)
    found, missed = records(page, SHAPE)
    assert [
        (time, page[at : at + len(data)]) for (time, at), (_, data) in zip(found, expected, strict=True)
    ] == expected
    assert missed == lost


@little_endian
def test_an_absolute_time() -> None:
    body = _word(31, 7) + struct.pack("=I", 3) + _record(1, b"abcd")
    assert records(_page(body, 99), SHAPE)[0] == [((3 << 27) + 8, 16 + 12)]


@little_endian
@given(some.binary(max_size=200))
def test_no_page_leads_out_of_itself(body: bytes) -> None:
    page = struct.pack("=QQ", 0, len(body)) + body
    try:
        found, _ = records(page, SHAPE)
    except PageDamaged:
        return
    assert all(16 <= at <= len(page) for _, at in found)


def test_a_header_page_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="commit"):
        PageShape.parse("field: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;\n")
