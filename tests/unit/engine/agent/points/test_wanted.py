"""What an agent reads of a desired document, one of an older node among them."""

from __future__ import annotations

from engine.agent.points.wanted import Wanted, wanted_in


def test_what_is_wanted() -> None:
    hooks = {"before": "b", "after": "a", "timeout_seconds": 5.0}
    told = {"every_seconds": 900.0, "freeze": True, "hooks": hooks}
    assert wanted_in({"crash_points": told}) == Wanted(900.0, True, "b", "a", 5.0)
    assert wanted_in({"crash_points": {**told, "hooks": None}}) == Wanted(900.0, True)
    assert wanted_in({}) == Wanted()
