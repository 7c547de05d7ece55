"""The node's log, in lines as `engine.env.lines` writes them. What goes in at which level: docs/operations.md."""

from __future__ import annotations

import logging

from engine.env.clock import SYSTEM, Clock
from engine.env.lines import DEBUG, ERROR, INFO, WARNING, wanted, write, write_failure

__all__ = ["DEBUG", "ERROR", "INFO", "WARNING", "log", "log_failure", "take_library_logs", "wanted"]

PROCESS = "node"
_LEVELS = {logging.DEBUG: DEBUG, logging.INFO: INFO, logging.WARNING: WARNING}


def log(text: str, clock: Clock = SYSTEM, *, level: str = INFO, **fields: object) -> None:
    """One line."""
    write(PROCESS, level, text, fields, clock)


def log_failure(what: str, error: BaseException, clock: Clock = SYSTEM) -> None:
    """A fault of ours: what was being done, and the traceback, which nobody but the log gets to see."""
    write_failure(PROCESS, f"{what} failed: {type(error).__name__}", error, clock)


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
