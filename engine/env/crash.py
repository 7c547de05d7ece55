"""Places where a test may end the process, as a power cut or kill -9 would: no clean-up, nothing flushed.

`BCS_CRASH_AT=spool-appended:3` ends it the third time that place is passed. Without the variable nothing happens.
"""

from __future__ import annotations

import os

_PLACE, _, _TIMES = os.environ.get("BCS_CRASH_AT", "").partition(":")
_left = int(_TIMES or 1)


def crash(place: str) -> None:
    """End the process here if the environment asks for it."""
    global _left
    if place != _PLACE:
        return
    _left -= 1
    if _left <= 0:
        os._exit(137)
