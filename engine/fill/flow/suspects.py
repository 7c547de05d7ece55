"""Blocks that somebody may have written to while nobody guarded the tree: compared when what belongs there is fetched.

What is in them stays, whatever it is. Where it is not what belongs there the file was written to while reads of it gave
zeros: it is noted, durably, before the block counts as filled.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Set

from engine.fill.base import BLOCK_BYTES, ColdFile
from engine.fill.flow.storing import Span, without


class Suspects:
    """`blocks` are (number, block); `note` is told each file once."""

    def __init__(self, blocks: Set[tuple[int, int]], note: Callable[[ColdFile], None]) -> None:
        self._blocks, self._note = blocks, note
        self._noted: set[int] = set()

    def compare(
        self, file: ColdFile, fd: int, kept: list[Span], start: int, data: bytes | bytearray | memoryview
    ) -> None:
        """Of what belongs into the file from `start` on, as far as spans are `kept`. The file's lock is held."""
        if not kept or not self._blocks or file.number in self._noted:
            return
        end = start + len(data)
        for begins, ends in without([(start, end)], without([(start, end)], kept)):
            if self._differs(file.number, fd, begins, memoryview(data)[begins - start : ends - start]):
                self._noted.add(file.number)
                self._note(file)
                return

    def _differs(self, number: int, fd: int, begins: int, data: memoryview) -> bool:
        """As far as the file still goes; blocks that are no suspects may be anything."""
        found = os.pread(fd, len(data), begins)
        if found == data[: len(found)]:
            return False
        at = 0
        while at < len(found):
            block = (begins + at) // BLOCK_BYTES
            stop = min(len(found), (block + 1) * BLOCK_BYTES - begins)
            if (number, block) in self._blocks and found[at:stop] != data[at:stop]:
                return True
            at = stop
        return False
