"""Finding files in all of the history, deleted ones too: by name, size, time and content; beside it as well.

Of what lies beside the current lineage that is found which came or changed after the lineage had left it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from engine.model.ids import Address, Position
from engine.model.lineage import Beside
from engine.query import sql
from engine.query.asof import whole_line
from engine.query.branches import Branch, branches
from engine.query.points import points, table_of
from engine.query.session import Session
from engine.query.streams import StreamInfo, by_name

HITS_MAX = 1000
_ALL = 1 << 40


@dataclass(frozen=True, slots=True)
class Hit:
    """A file that stayed at a path from point `first` to point `last`; `gone` when later points lack it there.

    `beside` of one whose `last` lies beside the current lineage; `gone` says then that the current lineage lacks it.
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
    beside: Beside | None = None


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
    """Files that match, by address and path, at most `limit`; of one stream, or of all. Those beside a stream's lineage
    come after its others."""
    found: list[Hit] = []
    for address, info in by_name(session.journal).items():
        if stream in (None, info.id) and len(found) < limit:
            found += stays_of(session, address, info, wanted, limit - len(found))
            for branch in branches(session, info.id):
                found += _beside(session, address, info, wanted, limit - len(found), branch)
    return found


def stays_of(
    session: Session,
    address: Address,
    info: StreamInfo,
    wanted: Wanted,
    limit: int = _ALL,
    of_files: str = "",
    branch: Branch | None = None,
    only: str = "true",
) -> list[Hit]:
    """The same of one stream along its current lineage, or that of a branch. `of_files` is a query of ours for
    file_ids, where only those files count; `only` a condition of ours besides."""

    def read() -> list[Hit]:
        last = [branch.last] if branch else points(session, info.id, limit=1)
        if not last:
            return []
        events = whole_line(session, info.id, last[0].position)
        names, condition, values = _conditions(wanted)
        condition += f" AND {only}"
        if of_files:
            condition += f" AND file_id IN ({of_files.replace('{events}', events)})"
        table = table_of(session, info.id, branch.epoch if branch else None)
        places = {"points": table, "names": names, "condition": condition, "events": events}
        rows = session.rows(sql.fill("search", **places), {**values, "count": limit})
        return [_hit(address, info.id, row) for row in rows]

    return session.reading(read)


def _beside(
    session: Session, address: Address, info: StreamInfo, wanted: Wanted, limit: int, branch: Branch
) -> list[Hit]:
    """Names that came to a branch, and, unless `deleted` is wanted, files that changed there under a name they had."""
    came = f"begins > {branch.after}"
    changed = "false" if wanted.deleted else f"\"type\" <> ord('d') AND described > {branch.after}"
    only = f"lsn_last > {branch.after} AND ({came} OR {changed})"
    found = stays_of(session, address, info, replace(wanted, deleted=False), limit, branch=branch, only=only)
    shared = [hit.file_id for hit in found if hit.file_id <= branch.beside.left.lsn]  # others the lineage never had
    now = _there_now(session, address, info, shared)
    found = [replace(hit, gone=(hit.path, hit.file_id) not in now, beside=branch.beside) for hit in found]
    return [hit for hit in found if hit.gone or not wanted.deleted]


def _there_now(session: Session, address: Address, info: StreamInfo, file_ids: Sequence[int]) -> set[tuple[bytes, int]]:
    """Which of these files are where at the newest point."""
    if not file_ids:
        return set()
    ids = ", ".join(map(str, sorted(set(file_ids))))
    return {(hit.path, hit.file_id) for hit in stays_of(session, address, info, Wanted(), of_files=ids) if not hit.gone}


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
