"""Which watermarks a merged segment keeps: for each recovery point the last one before the next point. Pure.

That one says how long the source was idle at the point, which is all that a watermark ever says; those before it say
nothing more. (A node takes a watermark into the next commit, so none comes later than the point after it, but for one
that it hears of only then, a second later.) Where points follow one another within a second it is left out, so that
about one a second is kept at most; and of a segment's those that say the least are, once there are too many. What that
costs is measured.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from engine.model.times import SECOND

KEPT_MAX = 4096
"""So many a segment, besides two of each stream: the ones before its first point and after its last."""

Told = tuple[int, int]
"""(committed_at, through_at), microseconds: what was known to be complete, and since when it was known."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One stream's, by through_at. No point is known to be complete for more than `lost_microseconds` less than was
    told."""

    watermarks: tuple[Told, ...] = ()
    lost_microseconds: int = 0


@dataclass(frozen=True, slots=True)
class _Idle:
    """A watermark with what it adds: how long after a point it is; None when that point is not known here."""

    told: Told
    gain: int | None


def choose(
    told: Mapping[str, Iterable[Told]],
    points: Mapping[str, Iterable[int]],
    *,
    apart: int = SECOND,
    kept_max: int = KEPT_MAX,
) -> dict[str, Kept]:
    """What to keep of each stream's watermarks, whose points are `at` those moments. `apart` in microseconds."""
    found: dict[str, list[_Idle]] = {}
    lost: dict[str, int] = {}
    for stream, listed in told.items():
        found[stream], lost[stream] = _of_stream(listed, sorted(set(points.get(stream, ()))), apart)
    gains = sorted((idle.gain for each in found.values() for idle in each if idle.gain is not None), reverse=True)
    # All that add as much as the first one too many go: which of them stayed would be chance.
    least = gains[kept_max] + 1 if len(gains) > kept_max else 0
    return {stream: _bounded(each, lost[stream], least) for stream, each in found.items()}


def _of_stream(told: Iterable[Told], points: Sequence[int], apart: int) -> tuple[list[_Idle], int]:
    """The last watermark before each point and the one behind all, and what leaving out others has cost."""
    last: dict[int, Told] = {}
    for one in sorted(told, key=lambda one: (one[1], -one[0])):
        if one[1] > 0:
            last[bisect_right(points, one[1])] = one
    found: list[_Idle] = []
    lost = 0
    for after, one in last.items():
        if after in (0, len(points)):
            found.append(_Idle(one, None))
            continue
        gain = one[1] - points[after - 1]
        if points[after] - points[after - 1] < apart:
            lost = max(lost, gain)
        elif gain > 0:
            found.append(_Idle(one, gain))
    return found, lost


def _bounded(found: Sequence[_Idle], lost: int, least: int) -> Kept:
    dropped = [idle.gain for idle in found if idle.gain is not None and idle.gain < least]
    kept = tuple(idle.told for idle in found if idle.gain is None or idle.gain >= least)
    return Kept(kept, max([lost, *dropped]))
