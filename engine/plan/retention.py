"""Which points stay as a history ages, each with the reason. Pure: nothing is deleted here.

Ages count from `committed_at`, the node's time, which no host can forge. Intervals are counted from
1970, so a point that stayed once for its interval stays until its tier ends: a sweep after a
sweep removes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from engine.model.points import APPLICATION, Point
from engine.model.policy.retention import EVERY_CHANGE, Tier, Tiers
from engine.model.times import format_about, format_duration, format_time, parse_duration

KEEP, REMOVE = "keep", "remove"


@dataclass(frozen=True, slots=True)
class Hold:
    """A legal hold: every state between `from_at` and `to_at` (site time, None: no end) stays."""

    name: str
    from_at: int
    to_at: int | None


class Decision(NamedTuple):
    """`verdict` is keep or remove."""

    point: Point
    verdict: str
    reason: str


def sweep(points: Sequence[Point], tiers: Tiers, now: int, holds: Sequence[Hold] = ()) -> list[Decision]:
    """What becomes of each point of one stream, in the order given, which is that of positions.

    Kept are: the newest point, application points, bookmarks, what a hold covers, and within each
    tier the last point of each interval. No tier removes nothing; something always stays.
    """
    last_of = _last_of_intervals(points, tiers, now)
    held = _held(points, holds)
    decisions = []
    for index, point in enumerate(points):
        age = now - point.committed_at
        tier = tier_at(tiers, age)
        if index == len(points) - 1:
            decisions.append(Decision(point, KEEP, "the newest point"))
        elif not tiers:
            decisions.append(Decision(point, KEEP, "no retention: nothing is removed"))
        elif point.label:
            decisions.append(Decision(point, KEEP, f"bookmark {point.label}"))
        elif point.point_class == APPLICATION:
            decisions.append(Decision(point, KEEP, "an application point"))
        elif index in held:
            decisions.append(Decision(point, KEEP, f"held by {held[index]}"))
        elif tier is None:
            reason = f"older than {format_duration(tiers[-1].until)}, the end of the last tier"
            decisions.append(Decision(point, REMOVE, reason))
        elif tier.interval == EVERY_CHANGE:
            decisions.append(Decision(point, KEEP, f"every change for {format_duration(tier.until)}"))
        else:
            decisions.append(_of_interval(point, tier, age, is_last=last_of.get((tier, _slot(point, tier))) == index))
    return decisions


def tier_at(tiers: Tiers, age: int) -> Tier | None:
    """The tier for an age in microseconds, None past the last; a point from the future has age 0."""
    return next((tier for tier in tiers if age <= tier.until), None)


def shortens(old: Tiers | Sequence[Mapping[str, str]], new: Tiers) -> bool:
    """Whether at any age `new` keeps less than `old` (tiers, or their JSON form)."""
    before = read_tiers(old)
    if not new:
        return False
    if not before:
        return True
    return any(_interval(new, tier.until) > _interval(before, tier.until) for tier in (*before, *new))


def read_tiers(tiers: Tiers | Sequence[Mapping[str, str]]) -> Tiers:
    """Tiers out of their JSON form; as they are if they are some already."""
    return tuple(
        tier
        if isinstance(tier, Tier)
        else Tier(
            EVERY_CHANGE if tier["keep"] == "every-change" else parse_duration(tier["keep"]),
            parse_duration(tier["for"]),
        )
        for tier in tiers
    )


def _interval(tiers: Tiers, age: int) -> float:
    tier = tier_at(tiers, age)
    return tier.interval if tier else float("inf")


def _slot(point: Point, tier: Tier) -> int:
    return point.committed_at // tier.interval


def _last_of_intervals(points: Sequence[Point], tiers: Tiers, now: int) -> dict[tuple[Tier, int], int]:
    """{(tier, interval): index of its last point}, among the points that have the tier's age now."""
    last_of: dict[tuple[Tier, int], int] = {}
    for index, point in enumerate(points):
        tier = tier_at(tiers, now - point.committed_at)
        if tier is not None and tier.interval != EVERY_CHANGE:
            last_of[tier, _slot(point, tier)] = index
    return last_of


def _of_interval(point: Point, tier: Tier, age: int, *, is_last: bool) -> Decision:
    interval = format_duration(tier.interval)
    begin = format_time(_slot(point, tier) * tier.interval)
    if is_last:
        return Decision(point, KEEP, f"the last of the {interval} from {begin}")
    return Decision(point, REMOVE, f"{format_about(age)} old, and not the last of the {interval} from {begin}")


def _held(points: Sequence[Point], holds: Sequence[Hold]) -> dict[int, str]:
    """{index: name of a hold}: points in the held time, and the one whose state held at its begin."""
    held: dict[int, str] = {}
    for hold in holds:
        before: int | None = None
        for index, point in enumerate(points):
            if point.at <= hold.from_at:
                before = index
            elif hold.to_at is None or point.at <= hold.to_at:
                held.setdefault(index, hold.name)
        if before is not None:
            held.setdefault(before, hold.name)
    return held
