"""How fast an agent may send: one bound for all of its streams together, kept piece by piece."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from engine.env.clock import SYSTEM, Clock

PIECE_BYTES_MIN, PIECE_BYTES_MAX = 1 << 10, 64 << 10
PIECES_A_SECOND = 20


class Pace:
    """For any number of threads; without a bound it costs nothing."""

    def __init__(self, bytes_a_second: int | None = None, clock: Clock = SYSTEM) -> None:
        self._rate, self._clock = bytes_a_second, clock
        self._piece = min(max((bytes_a_second or 0) // PIECES_A_SECOND, PIECE_BYTES_MIN), PIECE_BYTES_MAX)
        self._lock = threading.Lock()
        self._free_at = 0.0

    def pieces(self, buffer: bytes | memoryview) -> Iterator[bytes | memoryview]:
        """The buffer, each part of it when it may be sent."""
        if self._rate is None:
            yield buffer
            return
        whole = memoryview(buffer)
        for at in range(0, len(whole), self._piece):
            piece = whole[at : at + self._piece]
            self._wait(len(piece) / self._rate)
            yield piece

    def _wait(self, seconds: float) -> None:
        """Take a turn that lasts so long, after all that were taken before."""
        with self._lock:
            now = self._clock.monotonic()
            begins = max(now, self._free_at)
            self._free_at = begins + seconds
        if begins > now:
            self._clock.sleep(begins - now)


UNBOUND = Pace()
