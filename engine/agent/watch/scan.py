"""Watching without the kernel's help: everything is to be looked at again every interval."""

from __future__ import annotations

import os

from engine.agent.watch.base import Drained
from engine.env.clock import SYSTEM, Clock

INTERVAL_SECONDS = 60.0


class ScanWatcher:
    """Says `overflowed` once every interval, counted from the last time that it said so (or from its making)."""

    mechanism = "scan"

    def __init__(self, *, interval_seconds: float = INTERVAL_SECONDS, clock: Clock = SYSTEM) -> None:
        self._clock = clock
        self._interval_seconds = interval_seconds
        self._due = clock.monotonic() + interval_seconds
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.costs = (
            f"The kernel reports nothing here: everything is looked at every {interval_seconds:g} s, "
            "and what comes and goes between two looks is never seen."
        )

    def add_directory(self, directory_id: int, path: bytes) -> None:
        if not os.path.isdir(path) or os.path.islink(path):
            raise FileNotFoundError(2, "No such directory", path)

    def remove_directory(self, directory_id: int) -> None:
        pass

    def add_file(self, directory_id: int, name: bytes, path: bytes) -> None:
        os.lstat(path)

    def remove_file(self, directory_id: int, name: bytes) -> None:
        pass

    def wait(self, timeout_seconds: float) -> bool:
        missing = self._due - self._clock.monotonic()
        if missing > 0:
            self._clock.sleep(max(0.0, min(missing, timeout_seconds)))
        return self._clock.monotonic() >= self._due

    def drain(self) -> Drained:
        now = self._clock.monotonic()
        if now < self._due:
            return Drained()
        self._due = now + self._interval_seconds
        return Drained(overflowed=True)

    def fileno(self) -> int:
        """A descriptor that never polls readable: nothing tells when to look."""
        return self._fd

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
