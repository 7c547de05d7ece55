"""Retention: at which age how many points stay."""

from __future__ import annotations

from dataclasses import dataclass

from engine.model.times import DAY, HOUR, YEAR, format_duration

EVERY_CHANGE = 0
"""The interval of a tier that keeps every point."""


@dataclass(frozen=True, slots=True)
class Tier:
    """Up to the age of `until`, the last point of each `interval` stays; both in microseconds.

    Ages are counted from now, not from the tier before: a tier begins where the one before it ends.
    """

    interval: int
    until: int


Tiers = tuple[Tier, ...]
"""Ordered by `until`. Past the last tier nothing but the newest point stays; no tier at all keeps everything."""

DEFAULT_TIERS: Tiers = (Tier(EVERY_CHANGE, 7 * DAY), Tier(HOUR, 90 * DAY), Tier(DAY, YEAR))
"""What a group of the embedded site has when it says nothing."""


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    name: str
    tiers: Tiers


def tiers_as_json(tiers: Tiers) -> list[dict[str, str]]:
    """The form that policies have: [{"keep": "every-change", "for": "2d"}, ...]."""
    return [
        {
            "keep": format_duration(tier.interval) if tier.interval else "every-change",
            "for": format_duration(tier.until),
        }
        for tier in tiers
    ]
