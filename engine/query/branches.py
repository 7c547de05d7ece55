"""What was written beside the current lineage of a stream: its branches, restorable by their points."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engine.model.ids import Position
from engine.model.lineage import Epoch, lineage
from engine.model.points import Point
from engine.query import points
from engine.query.session import Session


@dataclass(frozen=True, slots=True)
class Branch:
    """The points of one epoch that lie behind where the current lineage left it: at `left`. `cause` is that of the
    epoch which took its place when it was opened. `count` of them, the last is `last`."""

    epoch: int
    left: Position
    cause: str
    count: int
    last: Point


def branches(session: Session, stream: str) -> list[Branch]:
    """All that hold a point, by epoch."""
    known = session.epochs(stream)
    if not known:
        return []
    line = lineage(known, max(known))
    ends: dict[int, int | None] = {span.epoch: span.lsn_last for span in line}
    written = points.written(session, stream)
    found = []
    for number, last_lsn in sorted(written.items()):
        epoch = known.get(number)
        if epoch is None:
            continue
        end = ends.get(number, epoch.parent.lsn if epoch.parent else 0)
        if end is None or last_lsn <= end:
            continue
        inside = [
            point
            for point in points.points(session, stream, epoch=number)
            if point.position.epoch == number and point.position.lsn > end
        ]
        if inside:
            left = Position(number, end) if number in ends else epoch.parent or Position(number, 0)
            cause = _left_for(known, number, last_lsn).cause
            found.append(Branch(number, left, cause, len(inside), inside[-1]))
    return found


def _left_for(known: Mapping[int, Epoch], number: int, last_lsn: int) -> Epoch:
    """The first epoch after this one of which the lineage does not hold all of it."""
    for later in sorted(each for each in known if each > number):
        ends = {span.epoch: span.lsn_last for span in lineage(known, later)}
        end = ends.get(number, 0)
        if end is not None and end < last_lsn:
            return known[later]
    return known[number]
