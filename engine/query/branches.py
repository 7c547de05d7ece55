"""What was written beside the current lineage of a stream: its branches, restorable by their points."""

from __future__ import annotations

from dataclasses import dataclass

from engine.model.ids import Position
from engine.model.lineage import Beside, beside
from engine.model.points import Gap, Point
from engine.query.points import gaps, points, written
from engine.query.session import Session


@dataclass(frozen=True, slots=True)
class Branch:
    """The points of one epoch that lie beside the current lineage, by position, and the gaps among them. All are after
    LSN `after`; what is before it on the way to them is of the lineage, or of another branch."""

    epoch: int
    beside: Beside
    after: int
    points: tuple[Point, ...]
    gaps: tuple[Gap, ...]

    @property
    def last(self) -> Point:
        return self.points[-1]


def gap_counts(session: Session, stream: str) -> tuple[int, int]:
    """(how many closed gaps the current lineage has, how many lie beside it)."""
    return len(gaps(session, stream)), sum(len(branch.gaps) for branch in branches(session, stream))


def branches(session: Session, stream: str) -> list[Branch]:
    """All that hold a point, by epoch. Without any at no cost."""
    known = session.epochs(stream)
    found = []
    for number, last_lsn in sorted(written(session, stream).items()):
        left = beside(known, Position(number, last_lsn))
        if left is None:
            continue
        parent = known[number].parent
        after = max(left.left.lsn, parent.lsn if parent else 0)
        inside = tuple(point for point in points(session, stream, epoch=number) if point.position.lsn > after)
        if inside:
            missed = gaps(session, stream, number, after)
            found.append(Branch(number, left, after, inside, tuple(missed)))
    return found
