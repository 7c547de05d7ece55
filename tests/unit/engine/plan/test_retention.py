"""The sweep against a naive oracle, and what must hold whatever the tiers are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.model.ids import Position
from engine.model.points import Point
from engine.model.policy.retention import DEFAULT_TIERS, Tier, tiers_as_json
from engine.model.times import DAY, HOUR, MINUTE
from engine.plan.retention import KEEP, REMOVE, Hold, shortens, sweep, tier_at

NOW = 1_790_000_000_000_000 // DAY * DAY  # midnight
GOLD = (Tier(0, 2 * DAY), Tier(MINUTE, 7 * DAY), Tier(HOUR, 30 * DAY), Tier(DAY, 365 * DAY))


def point(lsn: int, age: int, point_class: str = "fuzzy", label: str = "") -> Point:
    return Point(Position(1, lsn), NOW - age, NOW - age, point_class, label)


def aged(*ages: int) -> list[Point]:
    return [point(lsn, age) for lsn, age in enumerate(sorted(ages, reverse=True), 1)]


def kept(points: list[Point], tiers: tuple[Tier, ...], now: int = NOW, holds: tuple[Hold, ...] = ()) -> list[Point]:
    return [decision.point for decision in sweep(points, tiers, now, holds) if decision.verdict == KEEP]


def test_each_tier_keeps_the_last_of_its_intervals() -> None:
    points = aged(
        3 * DAY + 50,  # the same minute, and
        3 * DAY + 20,  # its last
        10 * DAY + 40 * MINUTE,
        10 * DAY + 20 * MINUTE,
        100 * DAY + 5 * HOUR,
        100 * DAY + HOUR,
        400 * DAY,
        50,
        20,
    )
    assert [NOW - p.at for p in kept(points, GOLD)] == [
        100 * DAY + HOUR, 10 * DAY + 20 * MINUTE, 3 * DAY + 20, 50, 20,
    ]  # fmt: skip


def test_every_decision_has_a_reason() -> None:
    points = [
        point(1, 400 * DAY),
        point(2, 300 * DAY, "application"),
        point(3, 300 * DAY - 1, label="before-upgrade"),
        point(4, 200 * DAY),
        point(5, 100 * DAY + 2 * HOUR),
        point(6, 100 * DAY + HOUR),
        point(7, HOUR),
        point(8, 0),
    ]
    holds = (Hold("case 7", NOW - 201 * DAY, NOW - 199 * DAY),)
    found = [(d.verdict, d.reason) for d in sweep(points, GOLD, NOW, holds)]
    day = "2026-06-12T00:00:00.000000Z"
    assert found[0] == (REMOVE, "older than 1y, the end of the last tier")
    assert found[1] == (KEEP, "an application point")
    assert found[2] == (KEEP, "bookmark before-upgrade")
    assert found[3] == (KEEP, "held by case 7")
    assert found[4] == (REMOVE, f"100 d 2 h old, and not the last of the 1d from {day}")
    assert found[5] == (KEEP, f"the last of the 1d from {day}")
    assert found[6] == (KEEP, "every change for 2d")
    assert found[7] == (KEEP, "the newest point")


def test_a_hold_keeps_the_state_at_its_begin() -> None:
    points = aged(700 * DAY, 600 * DAY, 500 * DAY, 400 * DAY, 0)
    hold = Hold("h", NOW - 550 * DAY, NOW - 450 * DAY)
    assert [NOW - p.at for p in kept(points, GOLD, holds=(hold,))] == [600 * DAY, 500 * DAY, 0]


def test_no_rule_removes_nothing() -> None:
    points = aged(5000 * DAY, 400 * DAY, 0)
    assert kept(points, ()) == points


def test_the_newest_stays_however_old() -> None:
    points = aged(5000 * DAY, 4000 * DAY)
    assert kept(points, GOLD) == points[-1:]


def test_age_counts_from_the_nodes_time() -> None:
    """A host whose clock says 1990 does not lose its points (lessons.md: crafted timestamps)."""
    points = [Point(Position(1, lsn), at, NOW - HOUR, "fuzzy") for lsn, at in ((1, 0), (2, 1))]
    assert kept(points, GOLD) == points


def test_points_from_the_future_are_young() -> None:
    points = aged(HOUR, -DAY, 0)
    assert kept(points, GOLD) == points


TIERS = st.lists(st.tuples(st.sampled_from([0, 1, 2, 3, 5, 7, 10]), st.integers(1, 60)), max_size=4).map(
    lambda pairs: (
        tuple(Tier(interval, until) for interval, until in zip(*map(sorted, zip(*pairs, strict=True)), strict=True))
        if pairs
        else ()
    )
)
POINTS = st.lists(
    st.tuples(
        st.integers(0, 100),
        st.sampled_from(["fuzzy", "fuzzy", "fuzzy", "application"]),
        st.sampled_from(["", "", "", "m"]),
    ),
    max_size=30,
).map(
    lambda rows: [
        Point(Position(1, lsn), at, at, point_class, label)
        for lsn, (at, point_class, label) in enumerate(sorted(rows), 1)
    ]
)
HOLDS = st.lists(
    st.tuples(st.integers(0, 100), st.integers(0, 30) | st.none()).map(
        lambda pair: Hold("h", pair[0], pair[0] + pair[1] if pair[1] is not None else None)
    ),
    max_size=2,
).map(tuple)


def oracle(points: list[Point], tiers: tuple[Tier, ...], now: int, holds: tuple[Hold, ...]) -> list[Point]:
    """Point by point, straight from the words of the design: quadratic and obvious."""

    def stays(point: Point) -> bool:
        if not tiers or point is points[-1] or point.label or point.point_class == "application":
            return True
        for hold in holds:
            inside = point.at >= hold.from_at and (hold.to_at is None or point.at <= hold.to_at)
            before = [p for p in points if p.at <= hold.from_at]
            if (inside and point.at > hold.from_at) or (before and point is before[-1]):
                return True
        tier = next((t for t in tiers if now - point.committed_at <= t.until), None)
        if tier is None:
            return False
        if tier.interval == 0:
            return True
        rivals = [
            other
            for other in points
            if other.position > point.position
            and other.committed_at // tier.interval == point.committed_at // tier.interval
            and next((t for t in tiers if now - other.committed_at <= t.until), None) == tier
        ]
        return not rivals

    return [point for point in points if stays(point)]


@given(POINTS, TIERS, st.integers(50, 150), HOLDS)
def test_sweep_agrees_with_the_oracle(
    points: list[Point], tiers: tuple[Tier, ...], now: int, holds: tuple[Hold, ...]
) -> None:
    assert kept(points, tiers, now, holds) == oracle(points, tiers, now, holds)


@given(POINTS, TIERS, st.integers(50, 150), HOLDS)
def test_a_sweep_after_a_sweep_removes_nothing(
    points: list[Point], tiers: tuple[Tier, ...], now: int, holds: tuple[Hold, ...]
) -> None:
    once = kept(points, tiers, now, holds)
    assert kept(once, tiers, now, holds) == once
    assert bool(once) == bool(points)


@given(POINTS, TIERS, st.integers(50, 150))
def test_each_interval_that_had_points_keeps_one(points: list[Point], tiers: tuple[Tier, ...], now: int) -> None:
    stays = kept(points, tiers, now)
    for p in points:
        tier = tier_at(tiers, now - p.committed_at)
        if tier is not None and tier.interval:
            slot = p.committed_at // tier.interval
            assert any(s.committed_at // tier.interval == slot and s.committed_at >= p.committed_at for s in stays)


@given(TIERS, TIERS)
def test_shortens_is_whether_some_age_keeps_less(old: tuple[Tier, ...], new: tuple[Tier, ...]) -> None:
    def interval(tiers: tuple[Tier, ...], age: int) -> float:
        if not tiers:
            return 0
        tier = tier_at(tiers, age)
        return tier.interval if tier else float("inf")

    assert shortens(old, new) == any(interval(new, age) > interval(old, age) for age in range(102))


def test_shortens_reads_the_json_form() -> None:
    assert not shortens(tiers_as_json(DEFAULT_TIERS), DEFAULT_TIERS)
    assert shortens(tiers_as_json(DEFAULT_TIERS), DEFAULT_TIERS[:2])
