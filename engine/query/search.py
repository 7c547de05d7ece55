"""Finding files in all of the history, deleted ones too: by name, size, time and content."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engine.model.ids import Address, Position
from engine.query import sql
from engine.query.asof import whole_line
from engine.query.points import points, table_of
from engine.query.session import Session
from engine.query.streams import StreamInfo, by_name

HITS_MAX = 1000
_ALL = 1 << 40


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


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for. `pattern` is a glob on names, on whole paths when it holds a slash, or a part of a name
    without `*`, `?` and `[`. Sizes in bytes, as a file's was last; a file was there between `from_at` and `to_at`
    (microseconds) at some point. `deleted`: only what is there no more."""

    pattern: str = "*"
    size_min: int | None = None
    size_max: int | None = None
    from_at: int | None = None
    to_at: int | None = None
    deleted: bool = False


def search(session: Session, wanted: Wanted, stream: str | None = None, limit: int = HITS_MAX) -> list[Hit]:
    """Files that match, by address and path, at most `limit`; of one stream, or of all."""
    found: list[Hit] = []
    for address, info in by_name(session.journal).items():
        if stream in (None, info.id) and len(found) < limit:
            found += stays_of(session, address, info, wanted, limit - len(found))
    return found


def stays_of(
    session: Session, address: Address, info: StreamInfo, wanted: Wanted, limit: int = _ALL, of_files: str = ""
) -> list[Hit]:
    """The same of one stream. `of_files` is a query of ours for file_ids, where only those files count."""

    def read() -> list[Hit]:
        last = points(session, info.id, limit=1)
        if not last:
            return []
        events = whole_line(session, info.id, last[0].position)
        names, condition, values = _conditions(wanted)
        if of_files:
            condition += f" AND file_id IN ({of_files.replace('{events}', events)})"
        places = {"points": table_of(session, info.id), "names": names, "condition": condition, "events": events}
        rows = session.rows(sql.fill("search", **places), {**values, "count": limit})
        return [_hit(address, info.id, row) for row in rows]

    return session.reading(read)


def _conditions(wanted: Wanted) -> tuple[str, str, dict[str, Any]]:
    """(what names must be, what all else must be, the values in both)."""
    where = "path_text" if "/" in wanted.pattern else "name_text"
    globbed = any(letter in wanted.pattern for letter in "*?[")
    named = f"{where} GLOB $pattern" if globbed else f"contains({where}, $pattern)"
    values: dict[str, Any] = {"pattern": wanted.pattern}
    conditions = ["gone"] if wanted.deleted else []
    for text, value in (
        ("size >= $size_min", wanted.size_min),
        ("size <= $size_max", wanted.size_max),
        ("at_last >= $from_at", wanted.from_at),
        ("at_first <= $to_at", wanted.to_at),
    ):
        if value is not None:
            conditions.append(text)
            values[text.rpartition("$")[2]] = value
    if wanted.size_min is not None or wanted.size_max is not None:
        conditions.append("\"type\" = ord('f')")
    if where == "name_text":
        return named, " AND ".join(conditions) or "true", values
    return "true", " AND ".join([named, *conditions]), values


def _hit(address: Address, stream: str, row: tuple[Any, ...]) -> Hit:
    path, file_id, letter, mode, size, mtime_ns, *times = row
    epoch_first, lsn_first, at_first, epoch_last, lsn_last, at_last, gone = times
    first, last = Position(epoch_first, lsn_first), Position(epoch_last, lsn_last)
    return Hit(address, stream, path, file_id, chr(letter), mode, size, mtime_ns, first, at_first, last, at_last, gone)
