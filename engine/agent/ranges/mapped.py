"""Files that processes have mapped to store into: found by asking /proc, looked at again and again while they are.

Nothing announces a store through a mapping. Where writes are traced, a store into a clean page is; a page that write(2)
had made dirty is found by asking which pages of a mapped file are dirty now. Elsewhere (tmpfs, btrfs, without tracefs)
a mapped file is compared in full, all of them together at BYTES_A_SECOND. At the beginning of a session, and after
records were lost, a mapped file counts as changed whatever its times say: stores into dirty pages leave none.

Asking takes a pass over all processes: done in slices, at most SHARE of the time, once for all sources of the agent.
A mapping that comes and goes between two passes, while its descriptor stays open, is seen when that is closed.
Source: proc(5), maps and map_files. Another user's processes are seen by root alone.
"""

from __future__ import annotations

import os
import re
import resource
import threading
from collections.abc import Iterator, Set
from contextlib import suppress
from pathlib import Path

from engine.agent.ranges.base import Ranges, Writes
from engine.env.clock import SYSTEM, Clock

PERIOD_SECONDS = 1.0
SHARE = 1 / 300
SLICE_SECONDS = 0.005
BYTES_A_SECOND = 50_000_000

_SHARED_WRITABLE = re.compile(rb"^([0-9a-f]+-[0-9a-f]+) .w.s [0-9a-f]+ [0-9a-f:]+ [1-9][0-9]* +/", re.MULTILINE)

Key = tuple[int, int]


class Mappings:
    """What all processes have mapped shared and writable. Safe to use from several threads."""

    def __init__(self, clock: Clock = SYSTEM) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._round = 0
        self._files: dict[Key, int] = {}
        self._found: dict[Key, int] = {}
        self._left: Iterator[str] | None = None
        self._spent = 0.0
        self._next = 0.0

    def files(self) -> tuple[int, dict[Key, int]]:
        """(number of the last complete round, (st_dev, st_ino) -> size of what it found); goes on with the next one.

        A round that is due takes several calls, each at most about SLICE_SECONDS.
        """
        if self._lock.acquire(blocking=False):
            try:
                self._go_on()
            finally:
                self._lock.release()
        return self._round, self._files

    def _go_on(self) -> None:
        if self._left is None:
            if self._clock.monotonic() < self._next:
                return
            self._left, self._found, self._spent = iter(os.listdir("/proc")), {}, 0.0
        began, end = _worked(), self._clock.monotonic() + SLICE_SECONDS
        for name in self._left:
            if name.isdigit():
                self._ask(name)
                if self._clock.monotonic() > end:
                    self._spent += _worked() - began
                    return
        self._spent += _worked() - began
        self._left, self._files = None, self._found
        self._round += 1
        self._next = self._clock.monotonic() + max(PERIOD_SECONDS, self._spent / SHARE)

    def _ask(self, pid: str) -> None:
        try:
            maps = Path(f"/proc/{pid}/maps").read_bytes()
        except OSError:
            return  # it has ended, or is another user's
        for match in _SHARED_WRITABLE.finditer(maps):
            with suppress(OSError):
                # By what is mapped, not by name: that may be gone, and btrfs has other device numbers in `maps`.
                status = os.stat(f"/proc/{pid}/map_files/{_bare(match[1])}")
                self._found[status.st_dev, status.st_ino] = status.st_size


def _worked() -> float:
    """Seconds of processor time that this thread has had: on a busy host waiting for it is no cost."""
    used = resource.getrusage(resource.RUSAGE_THREAD)
    return used.ru_utime + used.ru_stime


def _bare(addresses: bytes) -> str:
    """As map_files has them: without leading zeros."""
    return "-".join(each.lstrip("0") or "0" for each in addresses.decode("ascii").split("-"))


MAPPINGS = Mappings()
"""Of this process, for all its sources."""


class WithMapped:
    """Another source of ranges, and the mapped files beside it."""

    def __init__(self, writes: Writes, clock: Clock = SYSTEM, mappings: Mappings = MAPPINGS) -> None:
        self._writes, self._clock, self._mappings = writes, clock, mappings
        self._seen: dict[Key, int] | None = None
        self._round = mappings.files()[0] + 1  # one that began after this
        self._compared = 0.0

    @property
    def mechanism(self) -> str:
        return self._writes.mechanism

    @property
    def costs(self) -> str:
        return self._writes.costs

    def dirty(self) -> set[Key]:
        found = self._writes.dirty()
        number, files = self._mappings.files()
        if number > self._round:
            self._round = number
            found |= self._mapped(files)
        return found

    def _mapped(self, files: dict[Key, int]) -> set[Key]:
        now = self._clock.monotonic()
        seen, self._seen = self._seen, files
        if seen is None:
            for key in files:
                self._writes.forget(*key)
            self._writes.mapped(files.keys())
            self._compared = now
            return set(files)
        bare = self._writes.mapped(files.keys())
        found = seen.keys() - files.keys()
        if now - self._compared >= sum(files[key] for key in bare) / BYTES_A_SECOND:
            self._compared = now
            found |= bare
        return found

    def lose(self) -> None:
        self._seen = None
        self._writes.lose()

    def forget(self, dev: int, ino: int) -> None:
        self._writes.forget(dev, ino)

    def protect(self, dev: int, fd: int) -> None:
        self._writes.protect(dev, fd)

    def take(self) -> None:
        self._writes.take()

    def of(self, dev: int, ino: int, fd: int, size: int) -> Ranges | None:
        return self._writes.of(dev, ino, fd, size)

    def knows(self, dev: int, ino: int, size: int) -> int | None:
        return self._writes.knows(dev, ino, size)

    def reading(self, dev: int, ino: int, fd: int) -> int:
        return self._writes.reading(dev, ino, fd)

    def looked(self, dev: int, ino: int) -> None:
        self._writes.looked(dev, ino)

    def settled(self, dev: int, ino: int, size: int) -> None:
        self._writes.settled(dev, ino, size)

    def mapped(self, files: Set[Key]) -> set[Key]:
        return self._writes.mapped(files)

    def scan(self, dev: int, ino: int) -> bool:
        return self._writes.scan(dev, ino)

    def close(self) -> None:
        self._writes.close()
