"""What holds a source still while it is looked at: its state does not change, or a copy of it is looked at."""

from __future__ import annotations

from typing import Protocol

from engine.model.errors import Failed


class NotHeld(Failed):
    """A source can't be held still, or was not to the end: the message says why. Its points stay fuzzy or quiet."""

    code = "not-held"


class Hold(Protocol):
    """One source, held still. Used once: `begin`, looks, `end`."""

    how: str
    """'freeze' or 'snapshot'."""

    def prepare(self) -> None:
        """What takes time and holds nothing up yet. NotHeld when it can't be done."""
        ...

    def begin(self) -> None:
        """From the return of this call on the view stands still. NotHeld, holding nothing, when it can't be had."""
        ...

    def check(self) -> None:
        """NotHeld once it is over before its end: the time limit, somebody else."""
        ...

    def end(self) -> None:
        """Let go, whatever happened, and NotHeld if it had not held until now. Further calls do nothing."""
        ...

    @property
    def held_seconds(self) -> float:
        """How long writers had to wait; 0 when they didn't."""
        ...
