"""The node's log, in lines as `engine.env.lines` writes them. What goes in at which level: docs/operations.md."""

from __future__ import annotations

import logging
import threading

from engine.env.clock import SYSTEM, Clock
from engine.env.lines import DEBUG, ERROR, INFO, WARNING, wanted, write, write_failure
from engine.model.times import MINUTE

__all__ = [
    "BATCH_DIGITS",
    "DEBUG",
    "ERROR",
    "INFO",
    "SLOW_SECONDS",
    "WARNING",
    "Sparingly",
    "log",
    "log_failure",
    "take_library_logs",
    "wanted",
]

PROCESS = "node"
SLOW_SECONDS = 1.0
"""What takes longer is told at level info."""

BATCH_DIGITS = 16
"""So many digits of a batch's hash name it in the logs of agent and node."""

A_MINUTE = 30
_LEVELS = {logging.DEBUG: DEBUG, logging.INFO: INFO, logging.WARNING: WARNING}


def log(text: str, clock: Clock = SYSTEM, *, level: str = INFO, **fields: object) -> None:
    """One line."""
    write(PROCESS, level, text, fields, clock)


def log_failure(what: str, error: BaseException, clock: Clock = SYSTEM) -> None:
    """A fault of ours: what was being done, and the traceback, which nobody but the log gets to see."""
    write_failure(PROCESS, f"{what} failed: {type(error).__name__}", error, clock)


class Sparingly:
    """Writes at most A_MINUTE lines of a kind in a minute: whoever causes them can't fill the log. What was left out is
    counted, and told with the first line of a later minute. Safe to use from any thread."""

    def __init__(self, clock: Clock = SYSTEM) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._minute = 0
        self._written: dict[str, int] = {}

    def log(self, kind: str, text: str, *, level: str = INFO, **fields: object) -> None:
        """One line of a kind, of which there must be few."""
        minute, left_out = self._clock.now() // MINUTE, 0
        with self._lock:
            if minute != self._minute:
                left_out = sum(max(0, count - A_MINUTE) for count in self._written.values())
                self._minute, self._written = minute, {}
            count = self._written[kind] = self._written.get(kind, 0) + 1
        if left_out:
            log(f"{left_out} lines more were left out", self._clock, level=WARNING)
        if count <= A_MINUTE:
            log(text, self._clock, level=level, **fields)


class _Lines(logging.Handler):
    """Gives what libraries log the form of our own lines."""

    def emit(self, record: logging.LogRecord) -> None:
        level = _LEVELS.get(record.levelno, ERROR)
        text = f"{record.name}: {record.getMessage()}"
        if record.exc_info and record.exc_info[1] is not None:
            write_failure(PROCESS, text, record.exc_info[1])
        else:
            write(PROCESS, level, text, {})


def take_library_logs() -> None:
    """From now on warnings of libraries come as lines like ours. Idempotent."""
    root = logging.getLogger()
    if not any(isinstance(each, _Lines) for each in root.handlers):
        root.addHandler(_Lines(logging.WARNING))
