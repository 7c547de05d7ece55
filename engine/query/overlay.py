"""Overlaying extents in order of offset with a heap: the fast form of engine.model.extents.overlay."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import heappop, heappush

Cut = tuple[int, int, int]
"""(offset, ends, lsn) of an extent: bytes [offset, ends) as written at `lsn`."""


def visible(extents: Sequence[Cut]) -> Iterator[tuple[int, int, int]]:
    """(offset, ends, index) for each range that shows an extent, by offset; `index` says which.

    The extents are sorted by offset and have different LSNs. O(n log n).
    """
    waiting: list[tuple[int, int, int]] = []  # (-lsn, ends, index): the youngest on top
    at = index = 0
    shown = (0, 0, -1)
    while waiting or index < len(extents):
        if not waiting:
            at = max(at, extents[index][0])
        while index < len(extents) and extents[index][0] <= at:
            _, ends, lsn = extents[index]
            heappush(waiting, (-lsn, ends, index))
            index += 1
        while waiting and waiting[0][1] <= at:
            heappop(waiting)
        if not waiting:
            continue
        _, ends, top = waiting[0]
        stop = min(ends, extents[index][0]) if index < len(extents) else ends
        if shown[2] == top and shown[1] == at:
            shown = (shown[0], stop, top)
        else:
            if shown[2] >= 0:
                yield shown
            shown = (at, stop, top)
        at = stop
    if shown[2] >= 0:
        yield shown
