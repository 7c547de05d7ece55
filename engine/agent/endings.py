"""What ends a session of a source, beside failures: being stopped, and having to look at everything again."""

from __future__ import annotations

EXCHANGED = "the watch mechanism was exchanged"


class Stopped(Exception):
    """The source is to end."""


class Held(Exception):
    """Nobody may look at the source for now; the message says why."""


class Resync(Exception):
    """Open the stream again and look at everything; `reason` becomes the gap's label."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
