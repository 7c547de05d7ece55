"""Taking requests off the device: who asked a moment ago asks again in a moment, and is waited for awake.

To put a thread to sleep and a processor with it, and to wake both, takes longer than most answers do. So after a
request that came soon the device is looked at a few times before its reader sleeps; in vain, then half as often the
next time.
"""

from __future__ import annotations

import os
import select

from engine.env.clock import SYSTEM, Clock

LOOKS_MAX = 48
SOON_SECONDS = 0.0004
"""About as long as LOOKS_MAX looks take, and two processors to wake."""


class Taking:
    """Reads requests from a device of its own. One thread at a time."""

    def __init__(self, fd: int, *, clock: Clock = SYSTEM) -> None:
        os.set_blocking(fd, False)
        self._fd, self._clock = fd, clock
        self._device = select.poll()
        self._device.register(fd, select.POLLIN)
        # With a single processor nobody can ask while we look.
        self._looks_max = LOOKS_MAX if len(os.sched_getaffinity(0)) > 1 else 0
        self._looks = 0

    def read(self, buffer: bytearray) -> int:
        """Wait for the next request; its bytes, in `buffer`. OSError as the device has it (fuse(4))."""
        for _ in range(self._looks):
            try:
                return os.readv(self._fd, [buffer])
            except BlockingIOError:
                continue
        self._looks //= 2
        began = self._clock.monotonic()
        self._device.poll()
        if self._clock.monotonic() - began < SOON_SECONDS:
            self._looks = min(self._looks_max, self._looks + LOOKS_MAX // 4)
        return os.readv(self._fd, [buffer])
