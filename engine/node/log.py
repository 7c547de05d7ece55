"""The node's log: lines on standard error, with the time before each."""

from __future__ import annotations

import sys
import traceback

from engine.env.clock import SYSTEM, Clock
from engine.model.times import format_time


def log(text: str, clock: Clock = SYSTEM) -> None:
    """One line."""
    print(f"{format_time(clock.now())} {text}", file=sys.stderr, flush=True)


def log_failure(what: str, error: BaseException, clock: Clock = SYSTEM) -> None:
    """A fault of ours: what was being done, and the traceback, which nobody but the log gets to see."""
    log(f"{what} failed: {type(error).__name__}", clock)
    traceback.print_exception(error, file=sys.stderr)
    sys.stderr.flush()
