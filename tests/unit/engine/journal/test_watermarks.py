"""Which watermarks outlive a merge."""

from __future__ import annotations

from engine.journal.watermarks import KEPT_MAX, Kept, choose
from engine.model.times import SECOND


def told(*through: int) -> list[tuple[int, int]]:
    """Watermarks that were each committed a second later."""
    return [((at + 1) * SECOND, at * SECOND) for at in through]


def kept(through: list[tuple[int, int]], points: list[int]) -> Kept:
    return choose({"s": through}, {"s": [at * SECOND for at in points]})["s"]


def test_the_last_before_each_point_and_the_very_last_are_kept() -> None:
    assert kept(told(1, 2, 11, 19, 21, 22), [10, 20]) == Kept(tuple(told(2, 19, 22)), 0)
    assert kept(told(5, 7), []) == Kept(tuple(told(7)), 0)
    assert kept([], [10]) == Kept()


def test_an_unknown_watermark_is_none() -> None:
    assert kept([(SECOND, 0)], [10]) == Kept()


def test_one_at_the_point_itself_says_nothing_more() -> None:
    assert kept(told(10, 25), [10, 20]) == Kept(tuple(told(25)), 0)


def test_of_equal_ones_the_first_that_was_known_counts() -> None:
    assert kept([(9, 5), (7, 5), (8, 5)], []) == Kept(((7, 5),), 0)


def test_between_points_within_a_second_none_is_kept_and_the_loss_is_told() -> None:
    points = [0, 400_000, 2_000_000]
    found = choose({"s": [(9, 300_000), (9, 1_900_000), (9, 2_000_001)]}, {"s": points})["s"]
    assert found == Kept(((9, 1_900_000), (9, 2_000_001)), 300_000)


def test_too_many_of_all_streams_go_by_what_they_say() -> None:
    long, short = list(range(0, 10_000, 100)), list(range(0, 1000, 10))
    streams = {"long": told(*(at + 50 for at in long)), "short": told(*(at + 5 for at in short))}
    points = {"long": [at * SECOND for at in long], "short": [at * SECOND for at in short]}
    found = choose(streams, points, kept_max=150)
    assert found["long"] == Kept(tuple(streams["long"]), 0)
    assert found["short"] == Kept(tuple(streams["short"][-1:]), 5 * SECOND)
    assert choose(streams, points)["short"] == Kept(tuple(streams["short"]), 0)


def test_there_is_a_bound() -> None:
    points = list(range(0, 100_000, 10))
    found = kept(told(*(at + 1 + at % 7 for at in points)), points)
    assert len(found.watermarks) <= KEPT_MAX + 2
    assert 0 < found.lost_microseconds <= 9 * SECOND
