"""When people are told: edges, damping, reminders; as stories of what held when."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.model.times import DAY, HOUR, MINUTE, SECOND
from engine.plan.alerts import HELD, SETTLED, Alert, Notice, Standing, standing_from, step

T0 = 1_795_348_800_000_000
GAP = Alert("gap", "g/h/s", T0 - 5 * SECOND, "a gap is open")
SILENT = Alert("agent-silent", "h", T0 - 5 * SECOND, "its agent is silent")


def story(alert: Alert, *periods: tuple[bool, int], every: int = 5 * SECOND) -> list[tuple[str, int]]:
    """(kind, seconds since the beginning) of what is told while a matter holds, or not, for so many microseconds."""
    standing: dict[str, Standing] = {}
    told, at = [], T0
    for holds, period in periods:
        end = at + period
        while at < end:
            standing, notices = step(standing, {alert.key: alert} if holds else {}, at)
            told += [(notice.kind, (notice.at - T0) // SECOND) for notice in notices]
            standing = {key: standing_from(json.loads(json.dumps(each.as_json()))) for key, each in standing.items()}
            at += every
    return told


def test_a_gap_is_told_at_once_and_when_it_is_over() -> None:
    assert story(GAP, (True, MINUTE), (False, HOUR)) == [("raised", 0), ("resolved", 120)]


def test_a_short_silence_is_not_told() -> None:
    assert story(SILENT, (True, 25 * SECOND), (False, HOUR)) == []
    assert story(SILENT, (True, MINUTE), (False, HOUR)) == [("raised", 30), ("resolved", 120)]


def test_a_short_break_is_no_end() -> None:
    assert story(GAP, (True, MINUTE), (False, 55 * SECOND), (True, MINUTE), (False, HOUR)) == [
        ("raised", 0),
        ("resolved", 60 + 55 + 60 + 60),
    ]


def test_told_again_each_day() -> None:
    days = story(GAP, (True, 3 * DAY + HOUR), every=MINUTE)
    assert days == [("raised", 0), ("reminder", 86_400), ("reminder", 2 * 86_400), ("reminder", 3 * 86_400)]


def test_what_comes_and_goes_is_told_less_and_less() -> None:
    minutes_up_and_down = [(True, 90 * SECOND), (False, 90 * SECOND)] * 40
    told = story(GAP, *minutes_up_and_down)
    assert len(told) <= 10, told
    assert [kind for kind, _ in told] == (["raised", "resolved"] * 20)[: len(told)]


def test_after_an_hour_of_peace_it_is_new_again() -> None:
    told = story(GAP, (True, MINUTE), (False, 2 * HOUR + MINUTE), (True, MINUTE), (False, HOUR))
    assert told[2:] == [("raised", 60 + 2 * 3600 + 60), ("resolved", 60 + 2 * 3600 + 60 + 60 + 60)]


def test_a_notice_says_what_the_alert_says() -> None:
    _, [notice] = step({}, {GAP.key: GAP}, T0)
    assert notice == Notice("raised", "gap", "g/h/s", T0 - 5 * SECOND, T0, "a gap is open")


def test_since_when_is_not_forgotten_while_it_is_told() -> None:
    standing, _ = step({}, {GAP.key: GAP}, T0)
    later = Alert("gap", "g/h/s", T0 + HOUR, "a gap is still open")
    standing, _ = step(standing, {GAP.key: later}, T0 + HOUR)
    assert standing[GAP.key].alert == Alert("gap", "g/h/s", T0 - 5 * SECOND, "a gap is still open")


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 7200)), max_size=30), st.sampled_from([GAP, SILENT]))
def test_raised_and_resolved_take_turns(periods: list[tuple[bool, int]], alert: Alert) -> None:
    told = [kind for kind, _ in story(alert, *((holds, seconds * SECOND) for holds, seconds in periods), every=MINUTE)]
    assert [kind for kind in told if kind != "reminder"] == (["raised", "resolved"] * len(told))[
        : sum(kind != "reminder" for kind in told)
    ]


@settings(deadline=None)
@given(st.integers(1, 7200))
def test_what_holds_long_enough_is_told(seconds: int) -> None:
    told = story(SILENT, (True, seconds * SECOND), (False, HOUR), every=SECOND)
    assert bool(told) == (seconds * SECOND > HELD["agent-silent"])
    assert told in ([], [("raised", 30), ("resolved", seconds + SETTLED // SECOND)])
