"""What a server of a mount must know that its successor takes over from: memory that outlives it.

A memfd, held open by someone who lives longer and mapped by whoever serves. In it: what was agreed on at INIT (it is
said once a mount); which files are open, with the numbers that the kernel was given for them; and the requests that
are being worked on, as they came. A request is in its slot before read(2) returns, and until it is answered: who dies
between leaves it there.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
from collections.abc import Iterator
from typing import NamedTuple

from engine.fuse.protocol import IN_BYTES

SLOTS = 128
WRITE_BYTES_MAX = 1 << 20
SLOT_BYTES = WRITE_BYTES_MAX + 8192
"""The kernel asks for room for a write and its headers; the longest names fit too."""
OPEN_MAX = 1 << 18
_HEADER_BYTES = 8192
_HEADER = struct.Struct("=8sQII")
_MAGIC = b"bcsfuse1"
_RECORD = struct.Struct("=QQIIiI")
_INTENTS, _INTENT = 64, struct.Struct("=QQ")
_INTENTS_AT = 4096
_RECORDS_AT = _HEADER_BYTES
_SLOTS_AT = _RECORDS_AT + OPEN_MAX * _RECORD.size
_LENGTH = struct.Struct("=I")
_AT_ONCE = 4096
_POPULATE_WRITE = 23  # MADV_POPULATE_WRITE, linux/mman.h
_NONE_OPEN = bytes(_AT_ONCE * _RECORD.size)
_BYTES = _SLOTS_AT + SLOTS * SLOT_BYTES
CACHED, PASSED = 1, 2
"""How the kernel was told to read and write an open file: by asking us, or itself, behind us."""


class Opening(NamedTuple):
    """One open file: of which node, by which request, with which flags of open(2); how, and the kernel's number of the
    file behind when it is PASSED."""

    node: int
    unique: int
    flags: int
    how: int
    backing: int


def create() -> int:
    """A new, empty memory: a descriptor. Takes as much room as is used of it."""
    fd = os.memfd_create("bcs fuse", os.MFD_CLOEXEC)
    os.ftruncate(fd, _BYTES)
    return fd


class Memory:
    """The mapping. Threads may use it together; one process at a time writes it."""

    def __init__(self, fd: int) -> None:
        self._map = mmap.mmap(fd, _BYTES)
        self._view = memoryview(self._map)
        self._lock = threading.Lock()
        self._free: list[int] = []
        self._next = 0
        used = {number for number, _ in self.openings()}
        if used:
            self._next = max(used) + 1
            self._free = [number for number in range(self._next) if number not in used]

    # INIT

    @property
    def agreed(self) -> tuple[int, int] | None:
        """(flags, minor) that kernel and server agreed on; None before INIT was answered."""
        magic, flags, minor, _ = _HEADER.unpack_from(self._map)
        return (flags, minor) if magic == _MAGIC else None

    def agree(self, flags: int, minor: int) -> None:
        _HEADER.pack_into(self._map, 0, _MAGIC, flags, minor, 0)

    # Open files; the kernel's handle is the number + 1, since some of its requests say 0 for none.

    def opened(self, opening: Opening) -> int:
        """Note an open file: its handle. OSError of ENFILE's kind is IndexError here: there are OPEN_MAX."""
        with self._lock:
            if self._free:
                number = self._free.pop()
            elif self._next < OPEN_MAX:
                number, self._next = self._next, self._next + 1
            else:
                raise IndexError("no more open files are kept count of")
        self._put(number, opening)
        return number + 1

    def opening(self, handle: int) -> Opening | None:
        """What is known of a handle; None for one that isn't open."""
        if not 0 < handle <= OPEN_MAX:
            return None
        node, unique, flags, how, backing, used = _RECORD.unpack_from(self._map, _RECORDS_AT + (handle - 1) * 32)
        return Opening(node, unique, flags, how, backing) if used else None

    def closed(self, handle: int) -> None:
        if self.opening(handle) is None:
            return
        at = _RECORDS_AT + (handle - 1) * _RECORD.size
        self._map[at : at + _RECORD.size] = bytes(_RECORD.size)
        with self._lock:
            self._free.append(handle - 1)

    def openings(self) -> Iterator[tuple[int, Opening]]:
        """(number, what is open), of all. Reads what was ever used: for a successor's start."""
        for first in range(0, OPEN_MAX, _AT_ONCE):
            at = _RECORDS_AT + first * _RECORD.size
            part = bytes(self._view[at : at + _AT_ONCE * _RECORD.size])
            if part == _NONE_OPEN:
                continue
            for number, record in enumerate(_RECORD.iter_unpack(part), first):
                if record[5]:
                    yield number, Opening(*record[:5])

    def _put(self, number: int, opening: Opening) -> None:
        _RECORD.pack_into(self._map, _RECORDS_AT + number * _RECORD.size, *opening, 1)

    # Requests that are being worked on

    def slot(self, number: int) -> memoryview:
        """Where the thread of this number has its request read to."""
        at = _SLOTS_AT + number * SLOT_BYTES
        return self._view[at : at + SLOT_BYTES]

    def populate(self, number: int) -> None:
        """Have every page of a slot in memory, and in this process's tables, before a request is read into it. What is
        in it stays. Kernels before 5.14 know no such call: then each page is written to."""
        at = _SLOTS_AT + number * SLOT_BYTES
        try:
            self._map.madvise(_POPULATE_WRITE, at, SLOT_BYTES)
        except OSError:
            for page in range(at, at + SLOT_BYTES, mmap.PAGESIZE):
                self._map[page] = self._map[page]

    def left(self, number: int) -> memoryview | None:
        """The request that is in a slot; None when there is none. It stays there until `done`."""
        slot = self.slot(number)
        (length,) = _LENGTH.unpack_from(slot)
        return slot[:length] if IN_BYTES <= length <= SLOT_BYTES else None

    def done(self, slot: memoryview) -> None:
        """The request in this slot was answered."""
        _LENGTH.pack_into(slot, 0, 0)

    # What a request that can't be done twice found when it was begun

    def intend(self, unique: int, value: int) -> None:
        _INTENT.pack_into(self._map, self._intent(unique), unique, value)

    def intended(self, unique: int) -> int | None:
        kept, value = _INTENT.unpack_from(self._map, self._intent(unique))
        return value if kept == unique else None

    @staticmethod
    def _intent(unique: int) -> int:
        return _INTENTS_AT + (unique >> 1) % _INTENTS * _INTENT.size

    def close(self) -> None:
        self._view.release()
        self._map.close()
