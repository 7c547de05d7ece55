"""Which blocks of a recovery's files are cold, and what was filled into the others: one file, mapped shared.

An entry is set after its block's bytes are in the file, never before: who dies between leaves a block that is filled
once more with the same bytes. The page cache keeps the map when its filler dies; after a power cut it says nothing.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path

from xxhash import xxh3_128_digest

from engine.fill.base import BLOCK_BYTES, COLD, DIGEST_BYTES, WARM

_ZEROS = bytes(BLOCK_BYTES)
_LOOK_BLOCKS = 64


class Map:
    """Entries by block, counted over all files. One process writes; others may look at any time."""

    def __init__(self, path: Path, *, writing: bool = False) -> None:
        fd = os.open(path, (os.O_RDWR if writing else os.O_RDONLY) | os.O_CLOEXEC)
        try:
            self._bytes = os.fstat(fd).st_size
            access = mmap.PROT_READ | (mmap.PROT_WRITE if writing else 0)
            # An empty file can't be mapped: a recovery without cold files has no entries.
            self._map = mmap.mmap(fd, self._bytes, mmap.MAP_SHARED, access) if self._bytes else None
        finally:
            os.close(fd)

    @property
    def blocks(self) -> int:
        return self._bytes // DIGEST_BYTES

    def entry(self, block: int) -> bytes:
        """COLD, WARM or the digest of what was filled."""
        return self._slice(block, block + 1)

    def entries(self, first: int, end: int) -> bytes:
        """All entries of [first, end), one after the other."""
        return self._slice(first, end)

    def first_cold(self, first: int, end: int) -> int:
        """The first cold block in [first, end), or -1."""
        if self._map is None:
            return -1
        at, stop = first * DIGEST_BYTES, end * DIGEST_BYTES
        while at < stop:
            at = self._map.find(COLD, at, stop)
            if at < 0:
                return -1
            if at % DIGEST_BYTES == 0:
                return at // DIGEST_BYTES
            at += DIGEST_BYTES - at % DIGEST_BYTES  # zeros that two digests have between them
        return -1

    def first_warm(self, first: int, end: int) -> int:
        """The first block in [first, end) that is not cold, or `end`."""
        count = _LOOK_BLOCKS
        while first < end:
            found = self._slice(first, min(end, first + count))
            rest = len(found) - len(found.lstrip(b"\0"))
            if rest < len(found):
                return first + rest // DIGEST_BYTES
            first, count = first + count, 2 * count
        return end

    def cold_runs(self, first: int, end: int) -> Iterator[tuple[int, int]]:
        """(first, end) of each run of cold blocks, ascending."""
        while (begin := self.first_cold(first, end)) >= 0:
            first = self.first_warm(begin, end)
            yield begin, first

    def count_cold(self, first: int, end: int) -> int:
        return sum(stop - begin for begin, stop in self.cold_runs(first, end))

    def set(self, first: int, entries: bytes) -> None:
        """Entries of as many blocks, from `first` on."""
        if self._map is not None and entries:
            self._map[first * DIGEST_BYTES : first * DIGEST_BYTES + len(entries)] = entries

    def set_warm(self, first: int, end: int) -> None:
        """[first, end) are warm, what is in them is not known."""
        self.set(first, WARM * (end - first))

    def set_cold(self, first: int, end: int) -> None:
        self.set(first, COLD * (end - first))

    def close(self) -> None:
        if self._map is not None:
            self._map.close()

    def _slice(self, first: int, end: int) -> bytes:
        return b"" if self._map is None else self._map[first * DIGEST_BYTES : end * DIGEST_BYTES]


def make(path: Path, blocks: int) -> None:
    """A new map, all of it cold. Its room is taken at once: a full disk must not be met by a store into a mapping."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        if blocks:
            os.posix_fallocate(fd, 0, blocks * DIGEST_BYTES)
    finally:
        os.close(fd)


def digest(data: bytes | bytearray | memoryview) -> bytes:
    """The entry of a block that was filled with these bytes."""
    found = xxh3_128_digest(data)
    return found if found not in (COLD, WARM) else b"\1" + found[1:]


def digests(data: bytearray | memoryview) -> bytes:
    """The entries of blocks whose bytes these are, the last may be shorter."""
    view = memoryview(data)
    return b"".join(digest(view[at : at + BLOCK_BYTES]) for at in range(0, len(view), BLOCK_BYTES))


def zero_digests(size: int, first: int, end: int) -> bytes:
    """The entries of blocks [first, end) of a file of `size` bytes that are all hole."""
    whole = digest(_ZEROS)
    last = size - (end - 1) * BLOCK_BYTES
    if last >= BLOCK_BYTES:
        return whole * (end - first)
    return whole * (end - first - 1) + digest(memoryview(_ZEROS)[:last])
