"""Nobody may do what is kept for ever as often as he likes."""

from __future__ import annotations

import pytest

from engine.node.api.bodies import Busy
from engine.node.callers.often import Often
from tests.unit.engine.node.conftest import TurnedClock

MINUTE = 60_000_000


def test_each_may_so_often_a_minute(clock: TurnedClock) -> None:
    often = Often(2, clock)
    for who in ("a", "b"):
        for _ in range(2):
            often.once_more(who)
        with pytest.raises(Busy, match="2 times a minute"):
            often.once_more(who)
    clock.at += MINUTE
    often.once_more("a")
