"""What was written beside the current lineage of a stream: its branches, restorable by their points."""

from __future__ import annotations

from dataclasses import dataclass

from engine.model.ids import Position
from engine.model.lineage import lineage
from engine.model.points import Point
from engine.query import points
from engine.query.session import Session


@dataclass(frozen=True, slots=True)
class Branch:
    """The points of one epoch that lie behind where the current lineage left it: at `left`, since of an epoch that was
    opened with this `cause`. `count` of them, the last is `last`."""

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
    written: dict[int, int] = {}
    for one in session.held.ranges.get(stream, ()):
        written[one.epoch] = max(one.lsn_last, written.get(one.epoch, 0))
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
            cause = next((each.cause for each in known.values() if each.parent == left), epoch.cause)
            found.append(Branch(number, left, cause, len(inside), inside[-1]))
    return found
