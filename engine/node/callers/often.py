"""How often somebody does what is kept for ever: nobody who may do a thing once may fill the audit by it."""

from __future__ import annotations

import threading
from collections import Counter

from engine.env.clock import Clock
from engine.model.times import MINUTE
from engine.node.api.bodies import Busy


class Often:
    """Counts, within each minute of the clock, how often each has come. Safe to use from any thread."""

    def __init__(self, a_minute: int, clock: Clock) -> None:
        self._a_minute, self._clock = a_minute, clock
        self._lock = threading.Lock()
        self._minute = 0
        self._came: Counter[str] = Counter()

    def once_more(self, who: str) -> None:
        """Raises Busy for who has come as often as anybody may within this minute."""
        minute = self._clock.now() // MINUTE
        with self._lock:
            if minute != self._minute:
                self._minute, self._came = minute, Counter()
            self._came[who] += 1
            if self._came[who] > self._a_minute:
                raise Busy(
                    f"{who[:100]} comes too often: {self._a_minute} times a minute", hint="try again in a minute"
                )
