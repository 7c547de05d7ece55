"""The agent's log, in lines as `engine.env.lines` writes them: what changed, and what takes long or is refused."""

from __future__ import annotations

from engine.env.clock import SYSTEM, Clock
from engine.env.lines import DEBUG, ERROR, INFO, WARNING, wanted, write

__all__ = ["Changes", "DEBUG", "ERROR", "INFO", "WARNING", "batch_sent", "log", "wanted"]

PROCESS = "agent"
SLOW_SECONDS = 1.0
BATCH_DIGITS = 16
"""So many digits of a batch's hash name it in the logs of the agent and of the node."""


def log(text: str, clock: Clock = SYSTEM, *, level: str = INFO, **fields: object) -> None:
    """One line."""
    write(PROCESS, level, text, fields, clock)


def batch_sent(stream: str, batch: bytes, events: int, seconds: float, refusal: str = "") -> None:
    """What became of a batch of this hash: worth a line of level info when it took long or was refused."""
    level = INFO if refusal or seconds > SLOW_SECONDS else DEBUG
    if not wanted(level):
        return
    text = f"batch refused: {refusal}" if refusal else "batch acknowledged"
    named = batch.hex()[:BATCH_DIGITS]
    log(text, level=level, batch=named, stream=stream, events=events, seconds=round(seconds, 3))


class Changes:
    """Writes what is so of each subject when it becomes so, and is silent while it stays. For one thread."""

    def __init__(self, clock: Clock = SYSTEM) -> None:
        self._clock = clock
        self._told: dict[str, str] = {}

    def now(self, subject: str, text: str, *, level: str = INFO, **fields: object) -> None:
        """`text` holds for `subject` now."""
        if self._told.get(subject) != text:
            self._told[subject] = text
            log(f"{subject}: {text}", self._clock, level=level, **fields)

    def over(self, subject: str, text: str, *, level: str = INFO, **fields: object) -> None:
        """What was told of `subject` holds no more; silent where nothing was."""
        if self._told.pop(subject, None) is not None:
            log(f"{subject}: {text}", self._clock, level=level, **fields)

    def forget(self, subject: str) -> None:
        self._told.pop(subject, None)
