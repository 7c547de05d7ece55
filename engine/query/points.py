"""Recovery points, gaps and marks of a stream, and the point that answers a moment.

A point is the end of a pass from the first baseline on, along the lineage of an epoch, the
current one unless said. A bookmark follows the end of the pass that it names: its label shows
on the last point before it. `engine.model.points.choose` decides about moments; what is here
only hands it the few points that can matter, and proves that none of those is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from engine.model.errors import Damaged, NothingThere
from engine.model.events import BOOKMARK, Mark
from engine.model.ids import Position
from engine.model.lineage import beside, current_at
from engine.model.points import Gap, Moment, Point, choose
from engine.query import sql
from engine.query.asof import incomplete, whole_line
from engine.query.session import Session

ROWS_MAX = 1 << 62
LSN_MAX = (1 << 62) - 1


@dataclass(frozen=True, slots=True)
class _Line:
    """The tables of one lineage's marks and points. `steady`: `at` never falls as positions grow."""

    epoch: int
    marks: str
    points: str
    steady: bool


def points(
    session: Session,
    stream: str,
    from_at: int | None = None,
    to_at: int | None = None,
    limit: int | None = None,
    epoch: int | None = None,
    point_class: str | None = None,
) -> list[Point]:
    """The points with from_at <= at <= to_at, of one class or any, the last `limit` of them, in order of position."""

    def read() -> list[Point]:
        line = _line(session, stream, epoch)
        count = ROWS_MAX if limit is None else limit
        values = {"from_at": from_at, "to_at": to_at, "count": ROWS_MAX if point_class else count}
        found = _as_points(session.rows(sql.fill("points", points=line.points), values)) if line else []
        return found if point_class is None else [point for point in found if point.point_class == point_class][-count:]

    return session.reading(read)


def count(
    session: Session,
    stream: str,
    from_at: int | None = None,
    to_at: int | None = None,
    point_class: str | None = None,
) -> int:
    """How many points `points` would find."""

    def read() -> int:
        line = _line(session, stream, None)
        if line is None:
            return 0
        within = '($from_at IS NULL OR "at" >= $from_at) AND ($to_at IS NULL OR "at" <= $to_at)'
        of_class = "($class IS NULL OR point_class = $class)"
        values = {"from_at": from_at, "to_at": to_at, "class": point_class}
        [(found,)] = session.rows(f"SELECT count(*) FROM {line.points} WHERE {within} AND {of_class}", values)
        return int(found)

    return session.reading(read)


def known_until(session: Session, stream: str) -> int:
    """Up to when the journal says that the stream is complete, by points and watermarks; site time in microseconds, 0
    for never."""

    def read() -> int:
        told = (footer.streams.get(stream) for footer in session.held.footers.values())
        line = _line(session, stream, None)
        [(newest,)] = session.rows(f'SELECT max("at") FROM {line.points}') if line else [(0,)]
        return max([newest or 0, *(each.through_at for each in told if each)])

    return session.reading(read)


def gaps(session: Session, stream: str, epoch: int | None = None, lsn_after: int = 0) -> list[Gap]:
    """The gaps that captures have closed, by their beginning; those told after an LSN. An open one is known to agent
    and node alone."""
    told = [mark for mark in marks(session, stream, epoch) if mark.kind == "gap" and mark.lsn > lsn_after]
    found = [Gap(mark.gap_from, mark.at, mark.label) for mark in told]
    return sorted(found, key=lambda gap: gap.from_at)


def marks(session: Session, stream: str, epoch: int | None = None) -> list[Mark]:
    """Every mark along the lineage that ends no plain pass: baselines, bookmarks, gaps and so on, by position."""

    def read() -> list[Mark]:
        line = _line(session, stream, epoch)
        if line is None:
            return []
        query = f"SELECT lsn, \"at\", mark, label, point_class, gap_from FROM {line.marks} WHERE mark <> 'pass'"
        rows = session.rows(f"{query} ORDER BY lsn")
        return [
            Mark(lsn, at, kind, label or "", point_class or "", gap_from or 0)
            for lsn, at, kind, label, point_class, gap_from in rows
        ]

    return session.reading(read)


def table_of(session: Session, stream: str, epoch: int | None = None) -> str:
    """The name of the table of all points along the lineage of an epoch (line_points.sql), "" without epochs."""
    line = _line(session, stream, epoch)
    return line.points if line else ""


def point_for(session: Session, stream: str, moment: Moment, now: int, open_gap: Gap | None = None) -> Point:
    """The point that answers a moment, as `engine.model.points.choose` says; of one that the current lineage has left
    it is told (Point.beside). `now` in microseconds; `open_gap` is the one that the node may know of.

    NothingThere as there; Damaged when events around the answer are missing, so that another
    point than this one might be the answer.
    """

    def read() -> Point:
        epoch = _epoch_of(session, stream, moment)
        line = _line(session, stream, epoch)
        near = _near(session, line, moment) if line else []
        closed = gaps(session, stream, epoch)
        found = choose(near, [*closed, open_gap] if open_gap and epoch is None else closed, moment, now)
        assert line is not None
        if moment.position is None and moment.label is None:
            _refuse_when_later_is_missing(session, stream, line, found)
        return found if epoch is None else replace(found, beside=beside(session.epochs(stream), found.position))

    return session.reading(read)


def _near(session: Session, line: _Line, moment: Moment) -> list[Point]:
    if moment.label is not None:
        query = sql.fill("points_named", points=line.points, marks=line.marks)
        return _as_points(session.rows(query, {"label": moment.label}))
    if not line.steady:  # choose() halves a list that is not in order: only the whole list gives its answer
        return _as_points(session.rows(f"SELECT * FROM {line.points} ORDER BY lsn"))
    values = {"at": moment.at, "lsn": moment.position.lsn if moment.position else None}
    return _as_points(session.rows(sql.fill("points_near", points=line.points), values))


def _as_points(rows: Sequence[tuple[int, int, int, int, str, str]]) -> list[Point]:
    return [
        Point(Position(epoch, lsn), at, committed_at, point_class, label)
        for epoch, lsn, at, committed_at, point_class, label in rows
    ]


def written(session: Session, stream: str) -> dict[int, int]:
    """The last LSN of what there is of each epoch of a stream."""
    found: dict[int, int] = {}
    for one in session.held.ranges.get(stream, ()):
        found[one.epoch] = max(one.lsn_last, found.get(one.epoch, 0))
    return found


def _epoch_of(session: Session, stream: str, moment: Moment) -> int | None:
    """The epoch whose lineage a moment is of, None for the current one: at a time before a recovery the source was what
    that has left behind since. A mark may have been left behind too; one of the current lineage goes before it."""
    known = session.epochs(stream)
    if moment.position is not None:
        return moment.position.epoch if beside(known, moment.position) else None
    if moment.label is not None:
        numbers = [None, *sorted(known.keys() - {max(known, default=0)}, reverse=True)]
        return next((number for number in numbers if _has_mark(session, stream, number, moment.label)), None)
    if moment.at is None or not known:
        return None
    number = current_at(known, moment.at, written(session, stream))
    return None if number == max(known) else number


def _has_mark(session: Session, stream: str, epoch: int | None, label: str) -> bool:
    return any(mark.kind == BOOKMARK and mark.label == label for mark in marks(session, stream, epoch))


def _line(session: Session, stream: str, epoch: int | None) -> _Line | None:
    """The marks and points along the lineage of an epoch, as tables; None for a stream without epochs."""
    known = session.epochs(stream)
    if not known:
        return None
    number = max(known) if epoch is None else epoch
    if number not in known:
        raise NothingThere(f"epoch {number} is not known in this stream", hint="`bcsctl points` lists what there is")
    return session.keep(("line", stream, number), lambda: _make_line(session, stream, number))


def _make_line(session: Session, stream: str, epoch: int) -> _Line:
    events = whole_line(session, stream, Position(epoch, LSN_MAX))
    marks_table, points_table = f"marks_{stream}_{epoch}", f"points_{stream}_{epoch}"
    session.rows(sql.fill("line_marks", table=marks_table, events=events))
    session.rows(sql.fill("line_points", table=points_table, marks=marks_table))
    falls = f'SELECT "at" < lag("at") OVER (ORDER BY lsn) AS falls FROM {points_table}'
    [(unsteady,)] = session.rows(f"SELECT coalesce(bool_or(falls), false) FROM ({falls})")
    return _Line(epoch, marks_table, points_table, not unsteady)


def _refuse_when_later_is_missing(session: Session, stream: str, line: _Line, found: Point) -> None:
    """Events after the answer may be missing, and a better answer with them: then there is none."""
    after = found.position.lsn
    rows = session.rows(f"SELECT epoch, lsn FROM {line.points} WHERE lsn > {after} ORDER BY lsn LIMIT 1")
    if rows:
        until = Position(*rows[0])
    else:
        _refuse_when_the_end_is_lost(session, stream, found)
        events = whole_line(session, stream, Position(line.epoch, LSN_MAX), after)
        [(last,)] = session.rows(f"SELECT max(lsn) FROM {events}")
        until = Position(line.epoch, max(after, last or 0))
    later = whole_line(session, stream, until, after)
    [(count,)] = session.rows(f"SELECT count(DISTINCT lsn) FROM {later}")
    if count != until.lsn - after:
        raise incomplete(session, stream, until, later, after)


def _refuse_when_the_end_is_lost(session: Session, stream: str, found: Point) -> None:
    ranges = session.held.ranges.get(stream, ())
    lost = [each.name for each in session.held.lost if each.may_end(stream, ranges)]
    if lost:
        raise Damaged(
            f"stream {stream} may have newer points than {found.position}: damaged or not there: {', '.join(lost[:4])}",
            hint=f"`bcsctl check` lists what is damaged; --at point:{found.position} is the last point that is whole",
            details={"stream": stream, "point": str(found.position), "objects": lost, "object": lost[0]},
        )
