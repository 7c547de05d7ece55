"""Bring moments of a lived history back through the real restore, and compare them with what was there.

A quiet moment must come back exactly. At a point inside a burst every path must be in a state that it passed through
since the point before it, whole if it did not change meanwhile: a pass looks at everything that happened before it
began, and it began after the point before it.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from bcsctl.opening import Scene, scene
from bcsctl.settings import settings
from engine.model.errors import NothingThere
from engine.model.points import QUIET, Point
from engine.model.times import format_time
from engine.query.points import gaps, points
from engine.recovery.restoring import carry_out, prepare
from tests.histories.digest import GRID_BYTES, Digest, State, difference, differences, digest
from tests.histories.passed import Passed
from tests.histories.run import ADDRESS, MISSING, Lived, Plan

SLACK = 10_000
"""Microseconds by which the site's time may differ from what was last said of it: it is slewed meanwhile."""
PACED_BYTES = 4 << 20
"""Files larger than this are looked at with pauses between: they may be as old as the last quiet point."""
TOLD = 12
NEVER = Passed()
"""Of a path that nothing ever was at."""


@dataclass(slots=True)
class Checked:
    """What was found. `wrong` says in words what is not as it was; none is good."""

    wrong: list[str] = field(default_factory=list)
    moments: int = 0
    points: int = 0
    points_checked: int = 0
    quiet: int = 0
    gaps: int = 0


def check(lived: Lived, plan: Plan, scratch: Path, points_max: int = 60) -> Checked:
    """Restore every noted moment and up to `points_max` points below `scratch`, and compare."""
    done = Checked(wrong=list(lived.wrong))
    with scene(settings(str(lived.home)), ADDRESS) as there:
        for at, expected in lived.moments:
            point = _answering(there, at - max(lived.skews_near(at)), plan, lived)
            with _restored(there, point, scratch) as found:
                told = [f"moment {format_time(at)}, {_named(point)}: {each}" for each in differences(expected, found)]
            done.wrong += told[:TOLD]
            done.moments += 1
        all_points = points(there.session, there.stream.id)
        done.points, done.quiet = len(all_points), sum(point.point_class == QUIET for point in all_points)
        for before, point, last_quiet in _chosen(all_points, lived, plan, points_max):
            with _restored(there, point, scratch) as found:
                done.wrong += [
                    f"{_named(point)}: {each}" for each in _impossible(lived, plan, before, point, last_quiet, found)
                ][:TOLD]
            done.points_checked += 1
        found_gaps = gaps(there.session, there.stream.id)
        done.gaps = len(found_gaps)
        if found_gaps and not _may_have_missed(plan, lived):
            done.wrong.append(f"gaps that nothing explains: {[gap.reason for gap in found_gaps]}")
    return done


def _answering(there: Scene, at: int, plan: Plan, lived: Lived) -> Point:
    """The point that answers a moment. A gap begins a little before the last that was called complete: where one is
    right it is the last point before the moment all the same."""
    try:
        return there.point(format_time(at))
    except NothingThere as error:
        if "lies in a gap" not in error.message or not _may_have_missed(plan, lived):
            raise
        last = [point for point in points(there.session, there.stream.id) if point.at <= at][-1]
        return there.point(f"point:{last.position}")


def _may_have_missed(plan: Plan, lived: Lived) -> bool:
    """Whether anything happened after which a gap is right."""
    return plan.gaps or any(kind in trouble for trouble in lived.troubles for kind in MISSING)


def _named(point: Point) -> str:
    return f"point {point.position} ({point.point_class}, {format_time(point.at)})"


@contextmanager
def _restored(there: Scene, point: Point, scratch: Path) -> Iterator[Digest]:
    """The tree as of a point, by the product's own restore."""
    target = scratch / f"restored-{point.position}"
    prepared = prepare(there.journal, there.session, there.stream, point, None, target)
    outcome = carry_out(there.journal, there.session, prepared, verify=False, progress=lambda files, count: None)
    try:
        assert outcome.verified, (outcome.restored.failures, outcome.restored.shortfalls)
        yield digest(str(target))
    finally:
        shutil.rmtree(target)


def _chosen(listed: Sequence[Point], lived: Lived, plan: Plan, points_max: int) -> list[tuple[Point, Point, Point]]:
    """(the point before, the point, the last quiet one before), for some of the points in the run."""
    triples = []
    last_quiet = listed[0] if listed else None
    for before, point in pairwise(listed):
        assert last_quiet is not None
        if before.point_class == QUIET:
            last_quiet = before
        if lived.began <= before.at and point.at <= lived.ended:
            triples.append((before, point, last_quiet))
    if len(triples) > points_max:
        triples = sorted(random.Random(plan.seed).sample(triples, points_max), key=lambda each: each[1].at)
    return triples


def _impossible(lived: Lived, plan: Plan, before: Point, point: Point, last_quiet: Point, found: Digest) -> list[str]:
    """What at a point can't have been there when the pass looked. An agent that sees no events has looked at all of it
    for the last quiet moment; its passes since then may have been for a few files alone."""
    skews = lived.skews_near(point.at)
    last = point.at + max(skews) + SLACK
    first = (point.at if point.point_class == QUIET else before.at) + min(skews) - SLACK
    if plan.blind:
        first = max([at for at, _ in lived.moments if at <= last], default=lived.began) - SLACK
    present = {f"tree/{path}": state for path, state in found.states.items() if path != "."}
    said = []
    for path in sorted({*lived.passed, *present}):
        passed = lived.passed.get(path, NEVER)
        states = passed.within(first, last)
        if point.point_class != QUIET and any(state is not None and state.size > PACED_BYTES for state in states):
            states = passed.within(last_quiet.at + min(skews) - SLACK, last)
        why = not_possible(states, present.get(path))
        # What is in a directory is seen at one moment, and where the directory is at another.
        if why and not any(lived.passed.get(above, NEVER).moved(first, last) for above in _above(path)):
            said.append("\n    ".join([f"{path!r}: {why}", *passed.told(last)]))
    return said


def _above(path: str) -> list[str]:
    """The directories that a path goes through."""
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def not_possible(states: Sequence[State | None], found: State | None) -> str:
    """Why a look during `states` can't have seen `found`; "" if it can."""
    if found in states:
        return ""
    if len(set(states)) == 1:
        return difference(states[0], found)
    if found is None:
        return "" if None in states else "should be there"
    alike = [state for state in states if state is not None and state.type == found.type]
    if not alike:
        return f"should not be of type {found.type}"
    for name in ("mode", "uid", "gid", "xattrs", "target"):
        if getattr(found, name) not in [getattr(state, name) for state in alike]:
            return f"{name} is {getattr(found, name)!r}, should be one of {[getattr(state, name) for state in alike]}"
    if None in states:
        return ""  # a file that was being made: how far its content was, nobody knows
    sizes = [state.size for state in alike]
    if not min(sizes) <= found.size <= max(sizes):
        return f"size is {found.size}, should be from {min(sizes)} to {max(sizes)}"
    for at, piece in enumerate(found.pieces):
        whole = (at + 1) * GRID_BYTES <= min(*sizes, found.size)
        if (
            whole
            and {state.pieces[at] for state in alike} not in ({piece}, set())
            and len({state.pieces[at] for state in alike}) == 1
        ):
            return f"piece {at} did not change meanwhile and is another"
    return ""
