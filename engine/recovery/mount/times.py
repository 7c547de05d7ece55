"""The times of a source as names in a directory: full hours, marks, `latest`; and any other that someone types."""

from __future__ import annotations

from collections.abc import Callable

from engine.model.errors import NothingThere, UsageError
from engine.model.ids import Address
from engine.model.points import Gap, Moment, Point, parse_moment
from engine.model.times import HOUR, format_time
from engine.query import sql
from engine.query.points import gaps, marks, point_for, table_of
from engine.query.session import Session

LATEST = b"latest"
HOURS_SHOWN = 24 * 400

OpenGap = Callable[[Address], Gap | None]
"""The gap of a source that is still open, as far as anybody knows."""


def names_of(session: Session, stream: str, now: int, gap: Gap | None) -> list[bytes]:
    """What a listing shows beside `latest`: each full hour with changes before it, each mark, the oldest first.

    Hours inside a gap are no moments to look at: `gap` is the open one.
    """
    points = table_of(session, stream)
    if not points:
        return []
    rows = session.rows(sql.fill("hours", points=points), {"count": HOURS_SHOWN})
    missed = [*gaps(session, stream), *([gap] if gap else [])]
    hours = [hour_name(hour) for (hour,) in reversed(rows) if hour <= now and not any(g.holds(hour) for g in missed)]
    labels = {mark.label for mark in marks(session, stream) if mark.kind == "bookmark" and mark.label}
    shown = [f"mark:{label}".encode() for label in sorted(labels) if "/" not in label and len(label.encode()) < 250]
    return hours + shown


def hour_name(at: int) -> bytes:
    """A full hour as its name: 2026-11-22T10:00:00Z."""
    assert at % HOUR == 0
    return format_time(at).replace(".000000", "").encode()


def point_at(session: Session, stream: str, name: bytes, now: int, gap: Gap | None) -> Point | None:
    """The point that a name stands for; None when it is no moment, or there is none (in a gap, in the future).

    2026-11-22T10-00-00Z is a time too, where a colon in a name is a nuisance. Raises Damaged.
    """
    try:
        moment = _moment(name.decode(), now)
        return point_for(session, stream, moment, now, gap)
    except (NothingThere, UsageError, UnicodeDecodeError):
        return None


def lasts(name: bytes, point: Point, newest: Point | None) -> bool:
    """Whether a name will always mean this point: a time with another point after it, or a position."""
    if name.startswith(b"point:"):
        return True
    if name.startswith((b"-", b"mark:")) or name == LATEST or newest is None:
        return False
    return point.position != newest.position


def _moment(text: str, now: int) -> Moment:
    day, separator, rest = text.partition("T")
    if separator and rest[2:3] == "-" and rest[5:6] == "-":
        text = f"{day}T{rest[:2]}:{rest[3:5]}:{rest[6:]}"
    return parse_moment(text, now)
