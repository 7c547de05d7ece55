"""Old bytes: blocks of files as the node has them, so that of a block that changed only what differs need travel.

Bounded, and shared by all sources of an agent. It promises nothing: whoever takes a block out compares its digest with
the one that the record has, since what a node has may have been rolled back, cut off or begun anew meanwhile.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from dataclasses import dataclass

BUDGET_BYTES = 64 << 20
ENTRY_BYTES = 250
"""What a block takes beside its bytes, about: its key, and its place in the order."""

NEAR_BYTES = 32
"""Ranges closer than this are one: a row of its own would cost more than the bytes between them."""

RANGE_BYTES = 64
"""What a range costs beside its bytes, on the line and in the journal, about."""

_PIECE_BYTES = 128
_EQUAL = re.compile(rb"\0{%d,}" % NEAR_BYTES)

Key = tuple[str, int, int]


class OldBytes:
    """Blocks by (stream, file_id, number of the block), those used last. Safe to use from several threads."""

    def __init__(self, budget_bytes: int = BUDGET_BYTES) -> None:
        """With a budget of 0 nothing is kept."""
        self.budget_bytes = budget_bytes
        self.bytes = 0
        self._blocks: OrderedDict[Key, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Key) -> bytes | None:
        with self._lock:
            block = self._blocks.get(key)
            if block is not None:
                self._blocks.move_to_end(key)
            return block

    def put(self, key: Key, block: bytes) -> None:
        with self._lock:
            before = self._blocks.pop(key, None)
            if before is not None:
                self.bytes -= len(before) + ENTRY_BYTES
            self._blocks[key] = block
            self.bytes += len(block) + ENTRY_BYTES
            while self.bytes > self.budget_bytes:
                _, gone = self._blocks.popitem(last=False)
                self.bytes -= len(gone) + ENTRY_BYTES

    def has_room(self, count: int) -> bool:
        """Whether so many bytes more drive nothing out. About: others may come first."""
        return self.bytes + count <= self.budget_bytes

    def drop(self, stream: str) -> None:
        """Forget the blocks of a stream that is not protected any more."""
        with self._lock:
            for key in [key for key in self._blocks if key[0] == stream]:
                self.bytes -= len(self._blocks.pop(key)) + ENTRY_BYTES


@dataclass(frozen=True, slots=True)
class OldBlocks:
    """The old bytes of one stream."""

    stream: str
    all: OldBytes

    def get(self, file_id: int, block: int) -> bytes | None:
        return self.all.get((self.stream, file_id, block))

    def put(self, file_id: int, block: int, content: bytes) -> None:
        self.all.put((self.stream, file_id, block), content)

    def has_room(self, count: int) -> bool:
        return self.all.has_room(count)


def differing(old: bytes, new: bytes) -> list[tuple[int, int]] | None:
    """(begin, end) of the ranges of `new` that differ from `old`, near ones merged; None: send all, it is cheaper.

    What `new` has beyond the end of `old` differs.
    """
    common = min(len(old), len(new))
    cost_max = len(new) // 2
    pieces = _pieces(old, new, common)
    if pieces is None:
        return None
    found: list[tuple[int, int]] = []
    cost = 0
    for begin, end in pieces:
        xor = int.from_bytes(old[begin:end], "little") ^ int.from_bytes(new[begin:end], "little")
        for first, last in _unequal(xor.to_bytes(end - begin, "little")):
            cost += _add(found, begin + first, begin + last)
    if len(new) > common:
        cost += _add(found, common, len(new))
    return found if cost <= cost_max else None


def _add(found: list[tuple[int, int]], begin: int, end: int) -> int:
    """Add a range behind the others; what that costs."""
    if found and begin - found[-1][1] < NEAR_BYTES:
        begin, before = found[-1][0], found[-1][1]
        found[-1] = (begin, end)
        return end - before
    found.append((begin, end))
    return end - begin + RANGE_BYTES


def _pieces(old: bytes, new: bytes, end: int) -> list[tuple[int, int]] | None:
    """Runs of pieces of [0, end) that are not equal, found by halving: most of a block is, mostly. None if it isn't."""
    found: list[tuple[int, int]] = []
    waiting = [(0, end)]
    unequal_bytes = 0
    while waiting:
        first, last = waiting.pop()
        if old[first:last] == new[first:last]:
            continue
        if last - first > _PIECE_BYTES:
            middle = (first + last) // 2
            waiting += ((middle, last), (first, middle))
            continue
        unequal_bytes += last - first
        if unequal_bytes > end // 2 + 2 * _PIECE_BYTES:
            return None
        if found and found[-1][1] == first:
            found[-1] = (found[-1][0], last)
        else:
            found.append((first, last))
    return found


def _unequal(xor: bytes) -> list[tuple[int, int]]:
    """(begin, end) of what is not zero, nothing shorter than NEAR_BYTES left out of it."""
    begin = len(xor) - len(xor.lstrip(b"\0"))
    end = len(xor.rstrip(b"\0"))
    found: list[tuple[int, int]] = []
    for equal in _EQUAL.finditer(xor, begin, end):
        found.append((begin, equal.start()))
        begin = equal.end()
    found.append((begin, end))
    return found
