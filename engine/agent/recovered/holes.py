"""Where a recovered file is a hole, as its file system tells: nobody reads zeros to find that out.

The map has the digests of zeros where holes were filled in; the record has HOLE there. Both mean the same content.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Callable

from engine.agent.capture.content import BLOCK_BYTES, DIGEST_BYTES, HOLE, Ranges
from engine.agent.capture.partly import Blocks
from engine.fill.kept.map import digest
from engine.tree.sparse import data_ranges

Opened = Callable[[int], int]
"""A descriptor of the file with this id, -1 when it can't be had; the caller closes it."""

_ZEROS = memoryview(bytes(BLOCK_BYTES))
_WHOLE = digest(_ZEROS)


def has_data(data: Ranges, begin: int, end: int) -> bool:
    """Whether a file has data in [begin, end); `data` are all of its ranges, (offset, length), ascending."""
    at = bisect_left(data, end, key=lambda each: each[0]) - 1
    return at >= 0 and data[at][0] + data[at][1] > begin


def emptied(known: bytes, within: Blocks) -> bytes:
    """The digests of a chunk of which these runs of blocks are holes."""
    found = bytearray(known)
    for first, end in within:
        found[first * DIGEST_BYTES : end * DIGEST_BYTES] = HOLE * (end - first)
    return bytes(found)


def as_holes(digests: bytes, start: int, size: int, data: Callable[[], Ranges | None]) -> bytes:
    """The digests of the blocks of a file of `size` bytes from byte `start` on, with HOLE for those of zeros in which
    it has no data. `data` is asked only where there are zeros; None: nobody knows."""
    last = digest(_ZEROS[: (size - 1) % BLOCK_BYTES + 1])
    count = len(digests) // DIGEST_BYTES
    end = (size - 1 - start) // BLOCK_BYTES  # the file's last block
    found = bytearray(digests)
    ranges: Ranges | None = None
    for block in range(count):
        at = block * DIGEST_BYTES
        if digests[at : at + DIGEST_BYTES] != (last if block == end else _WHOLE):
            continue
        if ranges is None and (ranges := data()) is None:
            return digests
        begin = start + block * BLOCK_BYTES
        if not has_data(ranges, begin, min(begin + BLOCK_BYTES, size)):
            found[at : at + DIGEST_BYTES] = HOLE
    return bytes(found)


class Data:
    """The ranges of data of one file, asked for when they are first wanted."""

    def __init__(self, opened: Opened, file_id: int, size: int) -> None:
        self._opened, self._file_id, self._size = opened, file_id, size
        self._asked = False
        self._ranges: Ranges | None = None

    def __call__(self) -> Ranges | None:
        """None when nobody knows: the file can't be opened, or is of another size by now."""
        if not self._asked:
            self._asked, self._ranges = True, self._look()
        return self._ranges

    def _look(self) -> Ranges | None:
        fd = self._opened(self._file_id)
        if fd < 0:
            return None
        try:
            return data_ranges(fd, self._size) if os.fstat(fd).st_size == self._size else None
        except OSError:
            return None
        finally:
            os.close(fd)
