"""A moment of several sources: the nearest one of which all of them have a point, where the one asked for has none."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bcsctl.again import with_moment
from engine.model.errors import NothingThere
from engine.model.times import format_time, parse_time

ROUNDS = 8
"""So often a moment is moved on to the next one that some source still lacks."""
Lacking = Mapping[str, NothingThere]
"""Sources without a point, by address, and why."""


def of_all(error: NothingThere, missing: Lacking, count: int, lacking: Callable[[str], Lacking]) -> NothingThere:
    """The refusal of a moment that `missing` of `count` sources have no point of, with the command that has one of all
    of them. `lacking` looks at another moment."""
    if not any(_beside(each, side) for each in missing.values() for side in ("before", "after")):
        return error  # it is not the moment that is wrong
    partial = "; --partial goes on without them" if len(missing) < count else ""
    for side, nearest in (("before", max), ("after", min)):
        at = _common(missing, side, nearest, lacking)
        command = with_moment(at) if at else ""
        if command:
            hint = f"all of them have a point at {at}: `{command}` works{partial}"
            return NothingThere(error.message, hint=hint, details={**error.details, "command": command})
    hint = f"no moment near it is one of which all of them have a point: `bcsctl points ADDRESS` lists each{partial}"
    return NothingThere(error.message, hint=hint, details=error.details)


def _common(
    missing: Lacking, side: str, nearest: Callable[[list[int]], int], lacking: Callable[[str], Lacking]
) -> str | None:
    """The moment on one side at which no source lacks a point; None where some have none on that side."""
    for _ in range(ROUNDS):
        near = [_beside(each, side) for each in missing.values()]
        if None in near:
            return None
        at = format_time(nearest([each for each in near if each is not None]))
        missing = lacking(at)
        if not missing:
            return at
    return None


def _beside(error: NothingThere, side: str) -> int | None:
    """When the nearest point on one side is; None without one."""
    told = error.details.get(side)
    return parse_time(told["at"], 0) if isinstance(told, Mapping) and "at" in told else None
