"""How fast an agent may send: one bound for all of its streams together, kept piece by piece, that may change at any
time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from engine.env.clock import SYSTEM, Clock

PIECE_BYTES_MIN, PIECE_BYTES_MAX = 1 << 10, 64 << 10
PIECES_A_SECOND = 20

Limit = Callable[[], int | None]
"""Bytes a second now; None for no bound. Asked for each piece."""


class Pace:
    """For any number of threads; without a bound it costs nothing."""

    def __init__(self, limit: int | Limit | None = None, clock: Clock = SYSTEM) -> None:
        self._limit: Limit = limit if callable(limit) else lambda: limit
        self._clock = clock
        self._lock = threading.Lock()
        self._free_at = 0.0

    def pieces(self, buffer: bytes | memoryview) -> Iterator[bytes | memoryview]:
        """The buffer, each part of it when it may be sent."""
        if self._limit() is None:
            yield buffer
            return
        rest = memoryview(buffer)
        while rest:
            rate = self._limit()
            if rate is None:
                yield rest
                return
            piece, rest = rest[: piece_bytes(rate)], rest[piece_bytes(rate) :]
            self._wait(len(piece) / rate)
            yield piece

    def _wait(self, seconds: float) -> None:
        """Take a turn that lasts so long, after all that were taken before."""
        with self._lock:
            now = self._clock.monotonic()
            begins = max(now, self._free_at)
            self._free_at = begins + seconds
        if begins > now:
            self._clock.sleep(begins - now)


class Slower:
    """A pace within another one, as long as `when` says so: what a baseline sends is bound by both."""

    def __init__(self, pace: Pace, within: Pace, when: Callable[[], bool]) -> None:
        self._pace, self._within, self._when = pace, within, when

    def pieces(self, buffer: bytes | memoryview) -> Iterator[bytes | memoryview]:
        """The buffer, each part of it when it may be sent."""
        if not self._when():
            yield from self._within.pieces(buffer)
            return
        for piece in self._pace.pieces(buffer):
            yield from self._within.pieces(piece)


def piece_bytes(rate: int) -> int:
    """How much of a body goes at once at so many bytes a second."""
    return min(max(rate // PIECES_A_SECOND, PIECE_BYTES_MIN), PIECE_BYTES_MAX)


UNBOUND = Pace()
