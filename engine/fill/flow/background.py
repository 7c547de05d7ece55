"""Fill what nobody asked for, file by file, at a set rate; those who wait for bytes go first."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from engine.env.clock import SYSTEM, Clock
from engine.fill.base import BLOCK_BYTES, Away
from engine.fill.flow.filling import Filling
from engine.model.errors import Damaged

YIELD_SECONDS = 0.002
YIELDS_MAX = 100
"""So often, one after the other, it lets those who wait go first; then it goes a step, however busy they are."""

BEHIND_SECONDS = 0.25
"""A rate is kept over so long: what was not used before is not caught up."""

LOOK_SECONDS = 0.1


class Background:
    """The work of one thread. `rate_bytes` a second (0: as fast as it goes), `paused` and `urgent` may change at any
    time; `urgent` lets nobody go first and knows no rate."""

    def __init__(self, filling: Filling, rate_bytes: int, clock: Clock = SYSTEM) -> None:
        self._filling, self._clock = filling, clock
        self.rate_bytes = rate_bytes
        self.paused = self.urgent = self.stopped = False
        self._may_at = 0.0
        self.done = threading.Event()

    def run(self, numbers: Sequence[int]) -> None:
        """Fill all of these. `done` is set when nothing is cold but what is damaged."""
        for number in numbers:
            self._filling.damaged.pop(number, None)  # tried again: it may have been repaired
            self._round(number, last=False)
            if number not in self._filling.damaged:
                self._round(number, last=True)  # what is cold still is holes
            if self.stopped:
                return
        self.done.set()

    def _round(self, number: int, last: bool) -> None:
        block = 0
        while block >= 0 and not self._filling.is_whole(number):
            self._take_turn()
            if self.stopped:
                return
            before = self._filling.blocks_left
            block = self._step(number, block, last)
            if not last:  # nobody has to bring holes, and they count as filled: no rate keeps them
                self._pay((before - self._filling.blocks_left) * BLOCK_BYTES)

    def _step(self, number: int, block: int, last: bool) -> int:
        try:
            return self._filling.fill_some(number, block, last)
        except Damaged:
            return block + 1  # it is named in what is damaged, and stays an error to who reads it
        except (Away, OSError):
            self._clock.sleep(LOOK_SECONDS)
            return block

    def _take_turn(self) -> None:
        yields = 0
        while not self.stopped:
            if self.urgent and not self.paused:
                return
            if self.paused:
                self._clock.sleep(LOOK_SECONDS)
            elif self.rate_bytes and (wait := self._may_at - self._clock.monotonic()) > 0:
                self._clock.sleep(min(wait, LOOK_SECONDS))
            elif self._filling.waiting and yields < YIELDS_MAX:
                yields += 1
                self._clock.sleep(YIELD_SECONDS)
            else:
                return

    def _pay(self, count: int) -> None:
        if self.rate_bytes and count > 0:
            now = self._clock.monotonic()
            self._may_at = max(self._may_at, now - BEHIND_SECONDS) + count / self.rate_bytes
