"""Who reads a file from front to back finds what follows fetched already, by several threads side by side.

How far ahead does not depend on the file, nor does what is looked at: the map is searched from where the reader is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from engine.fill.base import ColdFile
from engine.fill.flow.asked import Asked
from engine.fill.flow.chunks import MOST_BLOCKS, Blocks, next_edge
from engine.fill.kept.map import Map
from engine.model.errors import Damaged

AHEAD_BLOCKS = 6 * MOST_BLOCKS
"""So far before one who reads on is fetched for him."""


class Ahead:
    """What is to be fetched, for `run` in each of the threads.

    `fill` (number, block, end) fills some of what is cold in [block, end) of a file, and answers with the block behind,
    or -1 when nothing there is cold.
    """

    def __init__(self, files: Sequence[ColdFile], map: Map, fill: Callable[[int, int, int], int]) -> None:
        self._files, self._map, self._fill = files, map, fill
        self._read_on: dict[int, Asked] = {}
        self._wake = threading.Condition()
        self._stopped = False

    def came(self, number: int, known: Asked, end: int) -> None:
        """Somebody wants a file up to block `end`: if he reads on, what follows is begun."""
        known.seen = end
        if known.run < MOST_BLOCKS or known.ahead_to >= min(end + AHEAD_BLOCKS // 2, self._files[number].blocks):
            return
        with self._wake:
            self._read_on[number] = known
            self._wake.notify_all()

    def stop(self) -> None:
        """No thread begins anything new."""
        with self._wake:
            self._stopped = True
            self._wake.notify_all()

    def run(self) -> None:
        """The work of one thread, until `stop`."""
        while (claimed := self._claim()) is not None:
            number, (block, end) = claimed
            try:
                while 0 <= block < end:
                    block = self._fill(number, block, end)
            except (OSError, Damaged):
                pass  # who reads it will be told

    def _claim(self) -> tuple[int, Blocks] | None:
        """What this thread is to fetch now, and no other; waits. None in the end."""
        with self._wake:
            while not self._stopped:
                if not self._read_on:
                    self._wake.wait()
                    continue
                number, known = next(reversed(self._read_on.items()))
                found = self._next_of(self._files[number], known)
                if found is not None:
                    return number, found
                del self._read_on[number]
            return None

    def _next_of(self, file: ColdFile, known: Asked) -> Blocks | None:
        """The next blocks of a file, as many as are fetched at once, or all that are left of it."""
        first, end = max(known.seen, known.ahead_to), min(known.seen + AHEAD_BLOCKS, file.blocks)
        if first + MOST_BLOCKS > end < file.blocks or first >= end:
            return None
        cold = self._map.first_cold(file.first_block + first, file.first_block + end)
        if cold < 0:
            known.ahead_to = end
            return None
        block = cold - file.first_block
        known.ahead_to = min(end, next_edge(block))
        return block, known.ahead_to
