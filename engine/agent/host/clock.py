"""Site time on a host: CLOCK_BOOTTIME plus a measured, slewed offset to the node's clock.

The host's wall clock can be stepped by anyone; it only serves until the node has answered for the first time. An
answer bounds the offset to half of its round trip, so short trips count and long ones are ignored. That half is also
the most by which a line whose two directions take different times shifts it: nobody can tell that from here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from engine.env.clock import Clock

SLEW_PER_SECOND = 1_000  # microseconds: a thousandth, more than any clock drifts
STEP_MICROSECONDS = 1_000_000  # differences above this are stepped, not slewed
_DRIFT_PER_SECOND = 50  # microseconds by which an old measurement may be off, per second of its age


class SiteClock:
    """Hands out site time in microseconds; never less than before. For any number of threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._offset = clock.now() - clock.boottime()
        self._target = self._offset
        self._error: int | None = None  # None: nothing measured yet
        self._measured_at = 0
        self._slewed_at = clock.boottime()
        self._last = 0

    def now(self) -> int:
        """Site time now."""
        with self._lock:
            boottime = self._clock.boottime()
            self._slew(boottime)
            self._last = max(self._last, boottime + self._offset)
            return self._last

    def not_before(self, at: int) -> None:
        """From now on hand out nothing below `at`."""
        with self._lock:
            self._last = max(self._last, at)

    def measure(self, node_time: int, sent: int, received: int) -> None:
        """The node said `node_time` between the boot times `sent` and `received`."""
        error = (received - sent) // 2
        with self._lock:
            age_seconds = (received - self._measured_at) / 1e6
            if self._error is not None and error > self._error + age_seconds * _DRIFT_PER_SECOND:
                return
            target = node_time - (sent + received) // 2
            if self._error is None or abs(target - self._offset) > STEP_MICROSECONDS:
                self._offset = target
            self._target, self._error, self._measured_at = target, error, received

    def ask(self, call: Callable[[], dict[str, Any]], tries: int = 1) -> dict[str, Any]:
        """Measure with a call whose answer tells the node's `time`; of several tries the shortest counts."""
        told: list[tuple[int, int, int]] = []
        for _ in range(tries):
            sent = self._clock.boottime()
            answer = call()
            if isinstance(answer.get("time"), int):
                told.append((answer["time"], sent, self._clock.boottime()))
        if told:
            self.measure(*min(told, key=lambda each: each[2] - each[1]))
        return answer

    @property
    def measured(self) -> bool:
        """Whether a node has told its time yet."""
        return self._error is not None

    def wall(self) -> int:
        """What the host's wall clock says now, microseconds: as the kernel stamps files."""
        return self._clock.now()

    @property
    def skew_microseconds(self) -> int:
        """How far the host's wall clock is ahead of site time."""
        return self._clock.now() - self._clock.boottime() - self._offset

    def _slew(self, boottime: int) -> None:
        step = max(0, boottime - self._slewed_at) * SLEW_PER_SECOND // 1_000_000
        self._slewed_at = boottime if step or self._target == self._offset else self._slewed_at
        difference = self._target - self._offset
        self._offset += max(-step, min(step, difference))
