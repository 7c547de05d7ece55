"""Finding files in all of the history, deleted ones too: by name, size, time and content."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engine.model.ids import Address, Position
from engine.query import sql
from engine.query.asof import whole_line
from engine.query.points import points, table_of
from engine.query.session import Session
from engine.query.streams import StreamInfo, streams

HITS_MAX = 1000


@dataclass(frozen=True, slots=True)
class Hit:
    """A file that stayed at a path from point `first` to point `last`; `gone` when later points lack it there.

    `size` in bytes, `mtime_ns` and `mode` as at `last`; `at_first` and `at_last` are the points' site times.
    """

    address: Address
    stream: str
    path: bytes
    file_id: int
    type: str
    mode: int
    size: int
    mtime_ns: int
    first: Position
    at_first: int
    last: Position
    at_last: int
    gone: bool


def search(
    session: Session,
    pattern: str,
    *,
    stream: str | None = None,
    limit: int = HITS_MAX,
    size_min: int | None = None,
    size_max: int | None = None,
    from_at: int | None = None,
    to_at: int | None = None,
    content: bytes | None = None,
) -> list[Hit]:
    """Files whose name matches, by address and path, at most `limit`.

    `pattern` is a glob on names, on whole paths when it holds a slash, or a part of a name without `*`, `?` and `[`.
    A file was there between `from_at` and `to_at` (microseconds) at some point; its size in bytes as it was last;
    `content` is the hash of one of its extents.
    """
    condition, values = _condition(pattern)
    bounds = {
        "size >= $size_min": size_min,
        "size <= $size_max": size_max,
        "at_last >= $from_at": from_at,
        "at_first <= $to_at": to_at,
    }
    for text, value in bounds.items():
        if value is not None:
            condition += f" AND {text}"
            values[text.rpartition("$")[2]] = value
    found: list[Hit] = []
    for address, info in streams(session.journal).items():
        if stream in (None, info.id) and len(found) < limit:
            found += _in_stream(session, address, info, condition, values, content, limit - len(found))
    return found


def _condition(pattern: str) -> tuple[str, dict[str, Any]]:
    if not any(letter in pattern for letter in "*?["):
        where = "path_text" if "/" in pattern else "name_text"
        return f"contains({where}, $pattern)", {"pattern": pattern}
    return ("path_text" if "/" in pattern else "name_text") + " GLOB $pattern", {"pattern": pattern}


def _in_stream(
    session: Session,
    address: Address,
    info: StreamInfo,
    condition: str,
    values: dict[str, Any],
    content: bytes | None,
    limit: int,
) -> list[Hit]:
    def read() -> list[Hit]:
        last = points(session, info.id, limit=1)
        if not last:
            return []
        events = whole_line(session, info.id, last[0].position)
        narrowed, all_values = condition, {**values, "count": limit}
        if content is not None:
            narrowed += f" AND file_id IN (SELECT subject FROM {events} WHERE kind = 3 AND hash = $content)"
            all_values["content"] = content
        query = sql.fill("search", points=table_of(session, info.id), condition=narrowed, events=events)
        return [_hit(address, info.id, row) for row in session.rows(query, all_values)]

    return session.reading(read)


def _hit(address: Address, stream: str, row: tuple[Any, ...]) -> Hit:
    (
        path,
        file_id,
        letter,
        mode,
        size,
        mtime_ns,
        epoch_first,
        lsn_first,
        at_first,
        epoch_last,
        lsn_last,
        at_last,
        gone,
    ) = row
    first, last = Position(epoch_first, lsn_first), Position(epoch_last, lsn_last)
    return Hit(address, stream, path, file_id, chr(letter), mode, size, mtime_ns, first, at_first, last, at_last, gone)
