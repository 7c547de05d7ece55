"""Which files bear the time of a fill just now instead of their own: noted in shared memory before a fill writes.

A fill's write stamps its file, and the file's own time is put back right after it. Who looks between the two, or after
a filler was killed between them, finds the own time here; so too the privileges that a write takes away. The note is in
a file's pages: it outlives the filler, and of times says nothing after a power cut. That of a file with capabilities is
on the disk before they can be lost.
"""

from __future__ import annotations

import mmap
import os
import queue
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from engine.fill.tree.privileges import CAPABILITY, CAPABILITY_BYTES_MAX, NONE, Privileges
from engine.model.xattrs import decode, encode

SLOTS = 256
"""So many files are filled at the same moment; more of them wait for each other."""

_SLOT_BYTES, _UNDER_WAY_AT = 64, 32
_NOTE = struct.Struct("@QQqQ")
"""How often the slot was taken, number, mtime_ns, size; they count while the byte at _UNDER_WAY_AT is 1."""
_PRIVILEGES = struct.Struct("=B24sH")
"""How long the capability is, its bytes, and the bits of the mode, behind the flag."""
_PRIVILEGES_AT = _UNDER_WAY_AT + 1
_LENGTH = SLOTS * _SLOT_BYTES
_TRIES = 100

_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True)
class Left:
    """A file that a filler may have left with a fill's time, and how it was before."""

    number: int
    mtime_ns: int
    size: int
    privileges: Privileges = NONE


class Times:
    """For the one process that fills, for all of its threads. `left` is what a former one was at."""

    def __init__(self, path: Path) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, _LENGTH)  # a full disk must not be met by a store into a mapping
            self._map = mmap.mmap(fd, _LENGTH)
        finally:
            os.close(fd)
        self.left = list(_left(self._map[:]))
        self._free: queue.SimpleQueue[int] = queue.SimpleQueue()
        for slot in range(SLOTS):
            if not self._map[slot * _SLOT_BYTES + _UNDER_WAY_AT]:
                self._free.put(slot)

    def put_back(self) -> None:
        """What was left bears its own times again, or is not to: nothing is left."""
        for slot in range(SLOTS):
            if self._map[slot * _SLOT_BYTES + _UNDER_WAY_AT]:
                self._end(slot)
        self.left = []

    @contextmanager
    def kept(self, number: int, before: os.stat_result, had: Privileges = NONE) -> Iterator[None]:
        """Within it a file may bear a fill's time, and lack the privileges that it `had`; `before` is its status. Its
        lock is held."""
        slot = self._free.get()
        at = slot * _SLOT_BYTES
        taken, *_ = _NOTE.unpack_from(self._map, at)
        _NOTE.pack_into(self._map, at, taken + 1, number, before.st_mtime_ns, before.st_size)
        told = had.capability if len(had.capability) <= CAPABILITY_BYTES_MAX else b""
        _PRIVILEGES.pack_into(self._map, at + _PRIVILEGES_AT, len(told), told, had.bits)
        self._map[at + _UNDER_WAY_AT] = 1
        if told:
            self._map.flush()
        try:
            yield
        finally:
            self._end(slot)

    def _end(self, slot: int) -> None:
        self._map[slot * _SLOT_BYTES + _UNDER_WAY_AT] = 0
        self._free.put(slot)

    def close(self) -> None:
        self._map.close()


class OwnTimes:
    """For who looks at files, in another process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._map: mmap.mmap | None = None

    def status(self, number: int, fd: int) -> os.stat_result:
        """The fstat of an open file, with its own mtime where it bears a fill's at that moment."""
        status, own = self._beside(number, lambda: os.fstat(fd))
        return _with_mtime(status, own.mtime_ns) if own is not None else status

    def xattrs(self, number: int, read: Callable[[], bytes]) -> bytes:
        """What `read` finds of its attributes (engine.model.xattrs), with the capability that a fill has just taken."""
        found, own = self._beside(number, read)
        if own is None or not own.privileges.capability:
            return found
        return encode({CAPABILITY.encode(): own.privileges.capability, **decode(found)})

    def _beside(self, number: int, read: Callable[[], _Found]) -> tuple[_Found, Left | None]:
        """What is read of a file, and what was noted of it while no fill began or ended."""
        if self._map is None:
            self._open()
        if self._map is None:
            return read(), None
        now = self._map[:]
        for _ in range(_TRIES):
            before, found, now = now, read(), self._map[:]
            if before == now:
                break
        return found, next((each for each in _left(now) if each.number == number), None)

    def close(self) -> None:
        if self._map is not None:
            self._map.close()

    def _open(self) -> None:
        with suppress(FileNotFoundError):
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if os.fstat(fd).st_size == _LENGTH:
                    self._map = mmap.mmap(fd, _LENGTH, mmap.MAP_SHARED, mmap.PROT_READ)
            finally:
                os.close(fd)


def _left(data: bytes) -> Iterator[Left]:
    """What is noted of each file that is being filled."""
    flags = data[_UNDER_WAY_AT::_SLOT_BYTES]
    slot = flags.find(1)
    while slot >= 0:
        _, number, mtime_ns, size = _NOTE.unpack_from(data, slot * _SLOT_BYTES)
        length, capability, bits = _PRIVILEGES.unpack_from(data, slot * _SLOT_BYTES + _PRIVILEGES_AT)
        yield Left(number, mtime_ns, size, Privileges(bits, capability[: min(length, CAPABILITY_BYTES_MAX)]))
        slot = flags.find(1, slot + 1)


def _with_mtime(status: os.stat_result, mtime_ns: int) -> os.stat_result:
    fields = list(status)
    fields[8] = mtime_ns // 1_000_000_000
    names = ("st_atime_ns", "st_ctime_ns", "st_blocks", "st_blksize", "st_rdev")
    return os.stat_result(fields, {name: getattr(status, name) for name in names} | {"st_mtime_ns": mtime_ns})
