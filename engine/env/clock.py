"""Clocks and sleep. Everything else takes a `Clock`, so that tests can turn time themselves.

`now` is wall time, `boottime` counts through suspends and is never stepped
(clock_gettime(2), CLOCK_BOOTTIME), `monotonic` is for measuring short intervals.
"""

from __future__ import annotations

import time


class Clock:
    """The machine's clocks. Subclass it to force a time in a test."""

    def now(self) -> int:
        """Wall time, microseconds since 1970 UTC."""
        return time.time_ns() // 1000

    def boottime(self) -> int:
        """Microseconds since the machine booted; never stepped."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000

    def monotonic(self) -> float:
        """Seconds from an arbitrary start."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


SYSTEM = Clock()
