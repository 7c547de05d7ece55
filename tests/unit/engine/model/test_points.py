from __future__ import annotations

import pytest

from engine.model.errors import NothingThere, UsageError
from engine.model.ids import Position
from engine.model.points import FUZZY, QUIET, Gap, Point, choose, parse_moment

POINTS = [
    Point(Position(1, 10), 1000, 1005, QUIET),
    Point(Position(1, 20), 2000, 2005, FUZZY, "before-upgrade"),
    Point(Position(1, 30), 3000, 3005, QUIET),
    Point(Position(1, 40), 4000, 4005, QUIET),
]
NOW = 9_000


def chosen(text: str, gaps: list[Gap] | None = None) -> int:
    return choose(POINTS, gaps or [], parse_moment(text, NOW), NOW).position.lsn


def at(number: int) -> str:
    return f"1970-01-01T00:00:00.{number:06d}Z"


def test_as_of_is_the_last_point_at_or_before() -> None:
    assert [chosen(at(t)) for t in (1000, 1999, 2000, 3999, 8999)] == [10, 10, 20, 30, 40]


def test_latest_position_and_mark() -> None:
    assert chosen("latest") == 40
    assert chosen("point:1.20") == 20
    assert chosen("mark:before-upgrade") == 20


def test_before_the_first_point_names_the_next() -> None:
    with pytest.raises(NothingThere, match="before the first recovery point") as caught:
        chosen(at(999))
    assert caught.value.details["before"] is None
    assert caught.value.details["after"] == {"point": "1.10", "at": at(1000)}
    assert "point:1.10" in caught.value.hint


def test_the_future_is_refused() -> None:
    with pytest.raises(NothingThere, match="in the future") as caught:
        chosen(at(9001))
    assert caught.value.details["before"] == {"point": "1.40", "at": at(4000)}


def test_a_time_inside_a_gap_names_both_neighbours() -> None:
    gaps = [Gap(2500, 3000, "agent was killed")]
    with pytest.raises(NothingThere, match=r"gap .*agent was killed") as caught:
        chosen(at(2700), gaps)
    assert [caught.value.details[side]["point"] for side in ("before", "after")] == ["1.20", "1.30"]
    assert chosen(at(2499), gaps) == 20
    assert chosen(at(3000), gaps) == 30


def test_an_open_gap_has_no_end() -> None:
    with pytest.raises(NothingThere, match="to now"):
        chosen(at(8000), [Gap(4500, None, "agent is silent")])


@pytest.mark.parametrize("text", ["point:1.21", "mark:other"])
def test_what_is_not_there(text: str) -> None:
    with pytest.raises(NothingThere):
        chosen(text)


@pytest.mark.parametrize("text", ["mark:", "point:x", "point:1", "lately"])
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(UsageError):
        parse_moment(text, NOW)


def test_no_point_yet() -> None:
    with pytest.raises(NothingThere, match="no recovery point yet"):
        choose([], [], parse_moment("latest", NOW), NOW)
