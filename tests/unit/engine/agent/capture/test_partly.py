"""Which blocks of a file are compared."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as some

from engine.agent.capture.content import BLOCK_BYTES, CHUNK_BLOCKS, CHUNK_BYTES, DIGEST_BYTES, HOLE, Content
from engine.agent.capture.partly import read_runs, touched_blocks
from engine.agent.kept.record import Record
from tests.unit.engine.agent.capture.test_content import Image

_sizes = some.integers(0, 20 * BLOCK_BYTES)


@given(some.lists(some.tuples(some.integers(0, 20 * BLOCK_BYTES), some.integers(1, 5 * BLOCK_BYTES))), _sizes, _sizes)
def test_all_that_may_differ_is_touched_and_no_block_besides(
    ranges: list[tuple[int, int]], size: int, size_known: int
) -> None:
    found = [block for first, end in touched_blocks(ranges, size, size_known) for block in range(first, end)]
    bytes_touched = {at for offset, length in ranges for at in range(offset, min(offset + length, size))}
    if size > size_known:
        bytes_touched |= set(range(size_known, size))
    expected = {at // BLOCK_BYTES for at in bytes_touched}
    if size != size_known and min(size, size_known) < size:
        expected.add(min(size, size_known) // BLOCK_BYTES)
    if size < size_known and size % BLOCK_BYTES:
        expected.add(size // BLOCK_BYTES)  # what lies behind the new end is gone from this block
    assert found == sorted(expected)


def test_of_a_long_hole_not_a_byte_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with open(path, "wb") as file:
        file.truncate(CHUNK_BYTES)
        file.write(b"x" * BLOCK_BYTES)
    record = Record(tmp_path / "record")
    content = Content(record, Image())  # type: ignore[arg-type]
    old = b"\1" * (CHUNK_BLOCKS * DIGEST_BYTES)
    fd = os.open(path, os.O_RDONLY)
    try:
        parts, new = read_runs(content, fd, 0, CHUNK_BYTES, [(0, 1), (256, 512)], old)
        assert parts == [(0, BLOCK_BYTES)] and content.bytes_read == BLOCK_BYTES
        assert new[256 * DIGEST_BYTES :] == HOLE * 256, "what is a hole is known as one"
        assert new[DIGEST_BYTES : 256 * DIGEST_BYTES] == old[DIGEST_BYTES : 256 * DIGEST_BYTES], "the rest stays"
        make_full(path, BLOCK_BYTES)
        assert len(read_runs(content, fd, 0, CHUNK_BYTES, [(256, 512)], old)[0]) == 1
    finally:
        os.close(fd)
        record.close()


def make_full(path: Path, count: int) -> None:
    """A few bytes of data in the middle of the second half."""
    with open(path, "r+b") as file:
        file.seek(CHUNK_BYTES * 3 // 4)
        file.write(b"y" * count)
