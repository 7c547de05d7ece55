"""The events that a filler has taken and not answered yet, in a file that outlives it.

The kernel keeps a taken event waiting for as long as the group is open, and asks nobody again. So each event is read
straight into a slot of a shared mapping: it counts as taken only once it has been copied there as a whole. Whoever is
killed, at whatever moment, leaves every event that waits in its slot. What was not noted yet is which file it is of:
the descriptor has gone with the process.
"""

from __future__ import annotations

import mmap
import os
import queue
import struct
from dataclasses import dataclass
from pathlib import Path

from engine.fill.pre_access.fanotify import EVENT_BYTES, Event, event_of

SLOTS = 128
"""So many accesses of cold ranges wait at the same time; more of them stay in the kernel's queue for as long."""

_SLOT_BYTES, _NOTED_AT, _NOTE_AT = 128, 64, 72
_NOTE = struct.Struct("=QQ")  # dev, ino; they count once the byte at _NOTED_AT is 1
assert EVENT_BYTES <= _NOTED_AT


@dataclass(frozen=True, slots=True)
class Taken:
    """An event in its slot. `dev` and `ino` say which file it is of; None when its taker died before he noted it.

    `size` is the file's as the event was taken; -1 when another process took it.
    """

    slot: int
    event: Event
    dev: int | None
    ino: int | None
    size: int = -1


class Slots:
    """SLOTS slots in the file `path`. `stale` are events that a former process took."""

    def __init__(self, path: Path) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(fd, SLOTS * _SLOT_BYTES)
            self._map = mmap.mmap(fd, SLOTS * _SLOT_BYTES)
        finally:
            os.close(fd)
        self._view = memoryview(self._map)
        self._free: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.stale = [taken for slot in range(SLOTS) if (taken := self._left(slot))]
        for slot in range(SLOTS):
            if all(taken.slot != slot for taken in self.stale):
                self._clear(slot)
                self._free.put(slot)

    def take(self, group_fd: int) -> Taken | None:
        """Wait for an event, note it, and answer with it; None for one that the kernel has denied already."""
        slot = self._free.get()
        begins = slot * _SLOT_BYTES
        try:
            os.readv(group_fd, [self._view[begins : begins + EVENT_BYTES]])
            event = event_of(self._view[begins : begins + EVENT_BYTES])
        except BaseException:
            self.release(slot)
            raise
        if event is None or event.fd < 0:
            self.release(slot)
            return None
        status = os.fstat(event.fd)
        _NOTE.pack_into(self._map, begins + _NOTE_AT, status.st_dev, status.st_ino)
        self._map[begins + _NOTED_AT] = 1
        return Taken(slot, event, status.st_dev, status.st_ino, status.st_size)

    def release(self, slot: int) -> None:
        """Its event was answered."""
        self._clear(slot)
        self._free.put(slot)

    def _left(self, slot: int) -> Taken | None:
        begins = slot * _SLOT_BYTES
        event = event_of(self._view[begins : begins + EVENT_BYTES])
        if event is None or event.fd < 0:
            return None
        if not self._map[begins + _NOTED_AT]:
            return Taken(slot, event, None, None)
        return Taken(slot, event, *_NOTE.unpack_from(self._view, begins + _NOTE_AT))

    def _clear(self, slot: int) -> None:
        """Before the slot is free: a note that stayed would be believed of the next event."""
        begins = slot * _SLOT_BYTES
        self._view[begins : begins + EVENT_BYTES] = bytes(EVENT_BYTES)
        self._map[begins + _NOTED_AT] = 0
