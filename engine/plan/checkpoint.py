"""When a stream is due for a checkpoint. Pure."""

from __future__ import annotations

from engine.model.times import HOUR, format_about

EVENTS_MAX = 100_000
AGE_MAX = HOUR


def due(events: int, age: int) -> str:
    """Why a checkpoint is due, "" when it is not.

    `events` is the number of events since the last checkpoint (since the beginning without one), `age` the time
    since then in microseconds. A stream in which nothing has happened is never due.
    """
    if events >= EVENTS_MAX:
        return f"{events} events since the last checkpoint"
    if events > 0 and age >= AGE_MAX:
        return f"{format_about(age)} since the last checkpoint, with {events} events"
    return ""
