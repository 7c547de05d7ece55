"""How much of a busy processor capturing takes from the application: little, as long as its lag allows it.

Where processors are idle this changes nothing. Where they aren't, capturing gives way (`engine.env.niceness`: a
sixteenth of a processor that others want too) until the lag has come to a part of the objective, then it takes a
thread's usual share, until the lag is small again. While it waits for a processor it also lets changes gather longer:
what is written again and again is then read once, and batches and their syncs are fewer. Between services systemd's
weights decide instead (`cpuWeight`).
"""

from __future__ import annotations

from collections.abc import Callable

from engine.env import niceness

HURRY_SHARE, CALM_SHARE = 0.5, 0.1
"""It hurries from this part of the objective on, until only that part is left."""
MUCH_SHARE, MUCH_CALM_SHARE = 0.1, 0.03
"""The same while there is much new data in few files: what is put off then has to wait somewhere."""
OBJECTIVE_SECONDS = 5.0
"""Where the policy names none."""
OBJECTIVE_SECONDS_MAX = 20.0
"""A longer objective counts as this one: what is written again and again is captured the more rarely the longer the
lag, and more names than fit are looked for everywhere."""
LOOK_SECONDS = 0.25
CONTENDED_SHARE = 0.25
"""A thread that waited for a processor for this part of the time shares it with others who want it."""
GATHER_SHARE, GATHER_SECONDS_MAX = 0.04, 0.25
"""How long changes may gather where processors are contended, as a part of the objective and at most."""


class Priority:
    """One capturing thread's. `keep` is called by that thread, each pass."""

    def __init__(
        self,
        objective_seconds: Callable[[], float | None],
        monotonic: Callable[[], float],
        waited_seconds: Callable[[], float] = niceness.waited_seconds,
        hurry: Callable[[bool], None] = niceness.hurry,
    ) -> None:
        self._asked = objective_seconds
        self._monotonic, self._waited, self._hurry = monotonic, waited_seconds, hurry
        self._looked_at, self._waited_then = monotonic(), waited_seconds()
        self.hurries: bool | None = None
        self.contended = False

    @property
    def _objective(self) -> float:
        return min(self._asked() or OBJECTIVE_SECONDS, OBJECTIVE_SECONDS_MAX)

    @property
    def gather_seconds(self) -> float:
        """How long changes should gather at least before they are looked at."""
        if not self.contended:
            return 0.0
        return min(self._objective * GATHER_SHARE, GATHER_SECONDS_MAX)

    def keep(self, lag_seconds: float, much_new: bool = False) -> None:
        """Take the share that a lag asks for."""
        begin, end = (MUCH_SHARE, MUCH_CALM_SHARE) if much_new else (HURRY_SHARE, CALM_SHARE)
        least = end if self.hurries else begin
        hurries = lag_seconds > self._objective * least
        now = self._monotonic()
        passed = now - self._looked_at
        if hurries is not self.hurries or passed >= LOOK_SECONDS:  # who looked at everything gave way, and is back
            self.hurries = hurries
            self._hurry(hurries)
        if passed >= LOOK_SECONDS:
            waited = self._waited()
            self.contended = waited - self._waited_then > CONTENDED_SHARE * passed
            self._looked_at, self._waited_then = now, waited

    def at_once(self) -> None:
        """The thread's share is the usual one, since somebody waits for it; the next `keep` decides anew."""
        self.hurries = None
        self._hurry(True)
