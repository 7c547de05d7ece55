from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.wire.batch import NO_HASH, BatchBuilder, decode
from engine.wire.errors import Malformed
from engine.wire.frames import FRAME_BYTES, Frame, compress, open_frame

STREAM = "0123456789abcdef"


def sample(count: int = 3) -> bytes:
    builder = BatchBuilder(STREAM, 1, 1, NO_HASH)
    for number in range(count):
        file_id = builder.inode(7, None, "f", 0o644, 1000, 1000, 5, -3, 0, b"", b"x")
        builder.dentry(7, 0, b"na\xffme%d" % number, file_id)
        builder.extent(7, file_id, 0, b"hello" * (number + 1))
        builder.hole(7, file_id, 100, 10)
    builder.dentry(8, 0, b"gone", None)
    builder.mark(9, "pass", "label", "quiet", 5)
    builder.record(9, "unreadable", '{"path": "ü"}')
    return b"".join(builder.encode()[0])


def test_what_was_put_in_comes_out() -> None:
    batch = decode(sample())
    assert (batch.stream, batch.epoch, batch.lsn_first, batch.lsn_last, batch.prev) == (STREAM, 1, 1, 15, NO_HASH)
    inodes, dentries, extents = (batch.tables[name] for name in ("inode", "dentry", "extent"))
    assert list(inodes["file_id"]) == [1, 5, 9] == list(inodes["lsn"])
    assert list(inodes["mtime_ns"]) == [-3] * 3
    assert list(dentries["name"]) == [b"na\xffme0", b"na\xffme1", b"na\xffme2", b"gone"]
    assert list(dentries["file_id"]) == [1, 5, 9, -1]
    assert list(extents["frame"]) == [0, -1, 0, -1, 0, -1]
    raw = open_frame(batch.frames[0])
    assert bytes(raw[extents["skip"][2] : extents["skip"][2] + extents["length"][2]]) == b"hellohello"
    assert batch.tables["mark"]["label"][0] == b"label"
    assert batch.tables["record"]["payload"][0].decode() == '{"path": "ü"}'


def test_the_hash_names_the_content_and_the_chain() -> None:
    first = BatchBuilder(STREAM, 1, 1, NO_HASH)
    first.mark(1, "pass")
    buffers, digest = first.encode()
    assert decode(b"".join(buffers)).hash == digest
    second = BatchBuilder(STREAM, 1, 2, digest)
    second.mark(1, "pass")
    assert decode(b"".join(second.encode()[0])).prev == digest


@settings(max_examples=300)
@given(st.data())
def test_any_changed_byte_is_noticed(data: st.DataObject) -> None:
    body = bytearray(sample())
    at = data.draw(st.integers(0, len(body) - 1))
    body[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(Malformed):
        decode(body)


@given(st.integers(0, 10_000))
def test_a_batch_cut_short_is_noticed(length: int) -> None:
    body = sample()
    with pytest.raises(Malformed):
        decode(body[: length % len(body)])


@given(st.binary(max_size=400))
def test_noise_is_no_batch(noise: bytes) -> None:
    with pytest.raises(Malformed):
        decode(b"BCSBATCH" + noise)


def test_a_frame_that_opens_to_more_than_it_says_stays_closed() -> None:
    bomb = compress(b"\0" * 1_000_000)
    with pytest.raises(Malformed, match="declares"):
        open_frame(bomb)
    with pytest.raises(Malformed):
        open_frame(Frame(bomb.codec, 10, bomb.data))


def test_incompressible_data_is_kept_as_it_is() -> None:
    import os

    noise = os.urandom(FRAME_BYTES)
    assert compress(noise).data == noise
    assert len(compress(b"text " * 10_000).data) < 1_000


def test_compression_on_a_thread_gives_the_same_frames() -> None:
    with ThreadPoolExecutor(1) as pool:
        here, there = (BatchBuilder(STREAM, 1, 1, NO_HASH, executor) for executor in (None, pool))
        for builder in (here, there):
            for number in range(50):
                builder.extent(1, 1, number * 20_000, bytes([number]) * 20_000)
        assert here.encode() == there.encode()


def test_an_extent_longer_than_a_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than"):
        BatchBuilder(STREAM, 1, 1, NO_HASH).extent(1, 1, 0, bytes(FRAME_BYTES + 1))
