"""How much is fetched at once: little for a read somewhere, more and more for one who reads on. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from engine.fill.base import BLOCK_BYTES

FIRST_BLOCKS = (64 << 10) // BLOCK_BYTES
"""For a read somewhere: a page of a database and its neighbours."""

MOST_BLOCKS = (1 << 20) // BLOCK_BYTES

Blocks = tuple[int, int]
"""(first, end) in blocks of a file."""


def next_edge(block: int) -> int:
    """The next multiple of MOST_BLOCKS behind a block. What nobody waits for is fetched up to there: pages that are
    written together, at a place that is a multiple of their length, the page cache holds as one."""
    return (block // MOST_BLOCKS + 1) * MOST_BLOCKS


def overlapping(flights: Sequence[Blocks], first: int, end: int) -> Blocks | None:
    """One of the fetches under way that meets [first, end)."""
    return next((flight for flight in flights if flight[0] < end and first < flight[1]), None)


def wished(block: int, end: int, read_on: int, file_blocks: int) -> Blocks:
    """What to fetch for a read that needs [block, end): at least its aligned neighbourhood.

    `read_on` is how many blocks were fetched in a row up to here: as many again are.
    """
    count = min(MOST_BLOCKS, max(FIRST_BLOCKS, end - block, read_on))
    first = block if read_on else block - block % FIRST_BLOCKS
    return first, min(file_blocks, max(block + 1, first + count))


def free_around(block: int, wish: Blocks, flights: Sequence[Blocks], cold: Sequence[bool]) -> Blocks:
    """The run of `wish` around `block` that is `cold` (told for each block of the wish) and not being fetched."""
    first, end = wish
    for begins, ends in flights:
        if ends <= block:
            first = max(first, ends)
        elif begins > block:
            end = min(end, begins)
    low = block
    while low > first and cold[low - 1 - wish[0]]:
        low -= 1
    high = block + 1
    while high < end and cold[high - wish[0]]:
        high += 1
    return low, high
