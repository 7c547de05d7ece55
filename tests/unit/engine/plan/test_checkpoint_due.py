"""When a checkpoint is due."""

from __future__ import annotations

import pytest

from engine.model.times import HOUR, MINUTE
from engine.plan.checkpoint import EVENTS_MAX, due


@pytest.mark.parametrize(
    ("events", "age", "reason"),
    [
        (0, 10 * HOUR, ""),
        (1, HOUR - 1, ""),
        (1, HOUR, "1 h since the last checkpoint, with 1 events"),
        (EVENTS_MAX - 1, MINUTE, ""),
        (EVENTS_MAX, 0, f"{EVENTS_MAX} events since the last checkpoint"),
    ],
)
def test_due_after_many_events_or_after_an_hour_with_some(events: int, age: int, reason: str) -> None:
    assert due(events, age) == reason
