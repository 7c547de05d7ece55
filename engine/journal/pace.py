"""When the next commit begins: at once where nobody else is expected, a moment later where company saves a commit.

A commit costs much the same for one batch as for twenty. While several streams are busy, a batch therefore waits a
little for those of the others, the longer the more there are, counted from the beginning of the commit before; a stream
that is alone, and whoever comes after a pause, waits for nobody. No locks and no I/O here: the committer holds its own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence

from engine.env.clock import Clock
from engine.journal.intake import Ticket

EARLY_BYTES = 4 << 20
"""So much is worth a commit: it waits for no company, nor for the commit before to be synced."""

COMPANY_SECONDS_A_STREAM, COMPANY_SECONDS_MAX = 0.005, 0.05
ACTIVE_SECONDS = 0.25
"""A stream that had a batch in a commit so lately is expected to have another."""


class Pace:
    """`every_seconds` is the shortest time between the beginnings of two commits, `idle_seconds` the time after which
    watermarks get a commit of their own."""

    def __init__(self, clock: Clock, every_seconds: float, idle_seconds: float) -> None:
        self._clock = clock
        self._every = every_seconds
        self._idle = idle_seconds
        self._begun_at = clock.monotonic() - every_seconds
        self._active: OrderedDict[str, float] = OrderedDict()

    def begin(self, streams: Collection[str]) -> None:
        """A commit begins now, with batches of these streams."""
        self._begun_at = self._clock.monotonic()
        for stream in streams:
            self._active[stream] = self._begun_at
            self._active.move_to_end(stream)

    def wait_seconds(self, eligible: Sequence[Ticket]) -> float:
        """How long these are still to wait while nothing is under way; 0 for not at all."""
        now = self._clock.monotonic()
        wait = self._begun_at + self._every - now
        if self._expects_more(eligible, now):
            company = min(COMPANY_SECONDS_A_STREAM * len(self._active), COMPANY_SECONDS_MAX)
            wait = max(wait, self._begun_at + company - now)
        return max(0.0, wait)

    def idle_wait_seconds(self) -> float:
        """How long until watermarks alone are worth a commit."""
        return max(0.0, self._begun_at + self._idle - self._clock.monotonic())

    def _expects_more(self, eligible: Sequence[Ticket], now: float) -> bool:
        while self._active and next(iter(self._active.values())) < now - ACTIVE_SECONDS:
            self._active.popitem(last=False)
        if len(self._active) < 2 or is_early(eligible):
            return False
        here = {ticket.batch.stream for ticket in eligible}
        return any(stream not in here for stream in self._active)


def is_early(eligible: Sequence[Ticket]) -> bool:
    """Whether there is so much that it need not wait for anything."""
    return sum(ticket.bytes for ticket in eligible) >= EARLY_BYTES
