"""Recovery points, gaps, and the moments that users ask for.

A moment is what `--at` says. Choosing answers it with a point or refuses with the nearest
points on both sides, so that nobody is ever handed another time than the one they see named.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.model.errors import NothingThere, UsageError
from engine.model.ids import Position, parse_position
from engine.model.lineage import Beside
from engine.model.times import format_time, parse_time

APPLICATION, CRASH, QUIET, FUZZY = "application", "crash", "quiet", "fuzzy"
LABEL_CHARS_MAX = 100


@dataclass(frozen=True, slots=True)
class Point:
    """The end of a pass. `at` is site time and bounds its changes from above; `committed_at`
    the node's time; `label` names it when a bookmark stands on it. `unseen` is the gap that is open now, of a point
    that answers `latest`: what changed since is not in it. `beside` says of a point that is in no present history what
    has left it."""

    position: Position
    at: int
    committed_at: int
    point_class: str
    label: str = ""
    unseen: Gap | None = field(default=None, compare=False)
    beside: Beside | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Gap:
    """Between `from_at` and `to_at` changes may have been missed; `to_at` None: still open."""

    from_at: int
    to_at: int | None
    reason: str

    def holds(self, at: int) -> bool:
        return self.from_at <= at and (self.to_at is None or at < self.to_at)


@dataclass(frozen=True, slots=True)
class Moment:
    """What a user asked for: one of latest (all None), a time, a position, a mark's label."""

    text: str
    at: int | None = None
    position: Position | None = None
    label: str | None = None


def check_label(text: str) -> str:
    """A mark's label as it is. UsageError unless it is of letters, digits, dashes, dots and underscores, which a shell,
    a path and a directory of a mount can all show."""
    plain = all(char.isalnum() or char in "-_." for char in text)
    if not plain or not text[:1].isalnum() or len(text) > LABEL_CHARS_MAX:
        raise UsageError(
            f"{text[: 2 * LABEL_CHARS_MAX]!r} can't be a label",
            hint=f"up to {LABEL_CHARS_MAX} letters, digits, dashes, dots and underscores, a letter or digit first: "
            "before-upgrade",
        )
    return text


def point_json(point: Point) -> dict[str, Any]:
    """Which point answers: its name, its time, its class; since when nobody has watched, while nobody does; and what
    has left it, if it lies beside the history."""
    named = {"point": str(point.position), "at": format_time(point.at), "class": point.point_class}
    return {**named, **unseen_json(point), **beside_json(point.beside)}


def unseen_json(point: Point) -> dict[str, str]:
    """Since when nobody has watched, and why; empty where nothing is open."""
    gap = point.unseen
    return {} if gap is None else {"unseen_since": format_time(gap.from_at), "unseen_reason": gap.reason}


def beside_json(beside: Beside | None) -> dict[str, dict[str, str]]:
    """Where the present history left what lies beside it, and for what; empty for what is in it."""
    return {} if beside is None else {"beside": {"left": str(beside.left), "cause": beside.cause}}


def read_beside(told: Mapping[str, Any]) -> Beside | None:
    """It as `beside_json` has told it."""
    found = told.get("beside")
    return Beside(parse_position(str(found["left"])), str(found["cause"])) if found else None


def parse_moment(text: str, now: int) -> Moment:
    """`latest`, a time as `engine.model.times.parse_time` reads it, `point:3.1234`, `mark:LABEL`."""
    if text == "latest":
        return Moment(text)
    if text.startswith("point:"):
        return Moment(text, position=parse_position(text.removeprefix("point:")))
    if text.startswith("mark:"):
        label = text.removeprefix("mark:")
        if not label:
            raise UsageError("'mark:' names no mark", hint="write mark:LABEL; `bcsctl points` lists the labels")
        return Moment(text, label=label)
    try:
        return Moment(text, at=parse_time(text, now))
    except UsageError as error:
        hint = "write latest, now, -5m, 2026-11-22T10:00:00Z, a local time without a zone, point:1.1234 or mark:LABEL"
        raise UsageError(error.message.replace("not a time", "no moment"), hint=hint) from None


def choose(points: Sequence[Point], gaps: Sequence[Gap], moment: Moment, now: int) -> Point:
    """The point that answers a moment. `points` are those of one stream, in order of position.

    As of a time is the last point with at <= that time. NothingThere, with the neighbours in its details (`before`,
    `after`), for a time before the first point, in the future, or inside a gap, and for a position where no point ends
    or that retention has let go; with the marks that there are (`marks`) for an unknown one.
    """
    if not points:
        raise NothingThere(
            "there is no recovery point yet",
            hint="the baseline has not ended: see `bcsctl status`",
            details={"before": None, "after": None},
        )
    if moment.position is not None:
        return _at_position(points, moment.position)
    if moment.label is not None:
        return _at_label(points, moment.label)
    if moment.at is None:
        return points[-1]
    index = bisect_right(points, moment.at, key=lambda point: point.at)
    if moment.at > now:
        raise _nothing(f"{format_time(moment.at)} is in the future", points, index)
    for gap in gaps:
        if gap.holds(moment.at):
            span = f"{format_time(gap.from_at)} to {format_time(gap.to_at) if gap.to_at is not None else 'now'}"
            raise _nothing(f"{format_time(moment.at)} lies in a gap ({span}: {gap.reason})", points, index)
    if index == 0:
        raise _nothing(f"{format_time(moment.at)} is before the first recovery point", points, index)
    return points[index - 1]


def _at_position(points: Sequence[Point], position: Position) -> Point:
    for point in points:
        if point.position == position:
            return point
    index = bisect_right(points, position.lsn, key=lambda point: point.position.lsn)
    raise _nothing(f"no recovery point ends at point:{position}, or none any more", points, index)


def _at_label(points: Sequence[Point], label: str) -> Point:
    for point in reversed(points):
        if point.label == label:
            return point
    from difflib import get_close_matches

    labels = sorted({point.label for point in points if point.label})
    near = get_close_matches(label, labels, n=8, cutoff=0.5) or labels[:8]
    known = f"marks there are: {', '.join(near)}" if labels else "there is no mark yet; `bcsctl mark` makes one"
    named = [{"label": point.label, **_told(point)} for point in points if point.label in near]
    raise NothingThere(f"no mark is named '{label}'", hint=known, details={"marks": named})


def _nothing(message: str, points: Sequence[Point], index: int) -> NothingThere:
    """The refusal of a moment between points[index - 1] and points[index]; either may not be there."""
    before = points[index - 1] if index else None
    after = points[index] if index < len(points) else None
    near = [
        f"{side} is {format_time(point.at)} (--at point:{point.position})"
        for side, point in (("the nearest before", before), ("the nearest after", after))
        if point
    ]
    neighbours = {side: _told(point) if point else None for side, point in (("before", before), ("after", after))}
    return NothingThere(message, hint="; ".join(near), details=neighbours)


def _told(point: Point) -> dict[str, str]:
    return {"point": str(point.position), "at": format_time(point.at)}
