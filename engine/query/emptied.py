"""What a source whose paths are gone at a point held last: its host was lost, and is back with an empty disk."""

from __future__ import annotations

from collections.abc import Sequence

from engine.model.errors import BcsError, NothingThere
from engine.model.ids import Position
from engine.model.points import Point
from engine.model.times import format_time
from engine.query.points import points
from engine.query.session import Session
from engine.query.timeline import REMOVED, versions


def last_held(
    error: NothingThere, session: Session, stream: str, position: Position, paths: Sequence[bytes]
) -> NothingThere:
    """A point's refusal for holding none of these paths, with the last point before it that does: in its details as
    refusals of moments have it (engine.model.points). As it is when there never was one."""
    found = [point for path in paths if (point := _last_with(session, stream, position, path))]
    if not found:
        return error
    last = max(found, key=lambda point: point.position.lsn)
    told = {"point": str(last.position), "at": format_time(last.at)}
    hint = f"the last before that holds it is {told['at']} (--at point:{told['point']})"
    return NothingThere(error.message, hint=hint, details={"before": told, "after": None})


def _last_with(session: Session, stream: str, position: Position, path: bytes) -> Point | None:
    """The last point before a position at which something was at the path, along the present history."""
    try:
        removed = [
            version.position.lsn
            for version in versions(session, stream, path, follow=False)
            if version.change == REMOVED and version.position.lsn <= position.lsn
        ]
    except BcsError:
        return None  # it never was there, or what tells of it is damaged: the refusal itself stands
    if not removed:
        return None
    before = [point for point in points(session, stream) if point.position.lsn < removed[-1]]
    return before[-1] if before else None
