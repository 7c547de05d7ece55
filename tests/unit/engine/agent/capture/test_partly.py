"""Which blocks of a file are compared."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some

from engine.agent.capture.content import BLOCK_BYTES
from engine.agent.capture.partly import touched_blocks

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
