"""Finding files by their content: every version that a file ever had at a recovery point is a candidate.

Candidates are narrowed by name and size; each is then judged by its bytes, so what is found is exact. Versions with
the same pieces are judged once.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import pyarrow as pa

from engine.model.events import DataRef
from engine.model.extents import Piece
from engine.model.ids import Address
from engine.model.points import Point
from engine.query import sql
from engine.query.asof import whole_line
from engine.query.branches import Branch, branches
from engine.query.overlay import visible
from engine.query.points import points
from engine.query.search import HITS_MAX, Hit, Wanted, stays_of
from engine.query.session import Session
from engine.query.streams import StreamInfo, by_name

Judge = Callable[[StreamInfo, Sequence[Piece], int], bool]
"""judge(stream, pieces, size): whether that file is one of those looked for. Raises Damaged."""

_FILE, _INODE = ord("f"), 2
_SIZED = "SELECT subject FROM {events} WHERE kind = 2 AND \"type\" = ord('f') AND size BETWEEN %d AND %d"
_SIZE_MAX = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class _Version:
    """A file as points numbered first to before `end` hold it."""

    first: int
    end: int
    mode: int
    size: int
    mtime_ns: int


def search_alike(
    session: Session, wanted: Wanted, judge: Judge, stream: str | None = None, limit: int = HITS_MAX
) -> list[Hit]:
    """The versions of files that match and that `judge` says yes to: `first` and `last` of a hit are the points
    between which the file had those very bytes at that path. By address and path, at most `limit`. Those that a branch
    has beside a stream's current lineage come after its others."""
    found: list[Hit] = []
    for address, info in by_name(session.journal).items():
        if stream in (None, info.id) and len(found) < limit:
            once = _once(judge)
            found += _along(session, address, info, wanted, once, None)
            for branch in branches(session, info.id):
                found += _along(session, address, info, wanted, once, branch)
    return found[:limit]


def _once(judge: Judge) -> Judge:
    """The same of one stream, which reads what has the same pieces once."""
    judged: dict[Any, bool] = {}

    def judge_once(info: StreamInfo, pieces: Sequence[Piece], size: int) -> bool:
        key = (size, *((p.offset, p.length, p.skip, p.hash) for p in pieces))
        if key not in judged:
            judged[key] = judge(info, pieces, size)
        return judged[key]

    return judge_once


def _along(
    session: Session, address: Address, info: StreamInfo, wanted: Wanted, judge: Judge, branch: Branch | None
) -> list[Hit]:
    """Those along the current lineage of a stream, or those that came on a branch."""
    sizes = (wanted.size_min or 0, _SIZE_MAX if wanted.size_max is None else wanted.size_max)
    named = replace(wanted, size_min=None, size_max=None, deleted=False)
    only = f"lsn_last > {branch.after}" if branch else "true"
    stays = stays_of(session, address, info, named, of_files=_SIZED % sizes, branch=branch, only=only)
    kept = points(session, info.id, epoch=branch.epoch if branch else None)
    lsns = [point.position.lsn for point in kept]
    after = branch.after if branch else 0
    alike = _alike(session, info, [hit.file_id for hit in stays if hit.type == "f"], kept, after, sizes, judge)
    found: list[Hit] = []
    for stay in stays:
        for version in alike.get(stay.file_id, ()):
            hit = _narrowed(stay, version, kept, lsns)
            if hit is not None and branch is not None:
                came = hit.first.lsn > branch.after
                hit = replace(hit, gone=True, beside=branch.beside) if came else None
            if hit is not None and _is_wanted(hit, wanted):
                found.append(hit)
    return found


def _narrowed(stay: Hit, version: _Version, kept: Sequence[Point], lsns: Sequence[int]) -> Hit | None:
    """What a stay at a path and a version of the file have in common; None for nothing."""
    first = max(bisect_left(lsns, stay.first.lsn), version.first)
    end = min(bisect_right(lsns, stay.last.lsn), version.end)
    if first >= end:
        return None
    one, last = kept[first], kept[end - 1]
    return replace(
        stay,
        mode=version.mode,
        size=version.size,
        mtime_ns=version.mtime_ns,
        first=one.position,
        at_first=one.at,
        last=last.position,
        at_last=last.at,
        gone=end < len(kept),
    )


def _is_wanted(hit: Hit, wanted: Wanted) -> bool:
    early = wanted.from_at is not None and hit.at_last < wanted.from_at
    late = wanted.to_at is not None and hit.at_first > wanted.to_at
    return not early and not late and (hit.gone or not wanted.deleted)


def _alike(
    session: Session,
    info: StreamInfo,
    file_ids: Sequence[int],
    kept: Sequence[Point],
    after: int,
    sizes: tuple[int, int],
    judge: Judge,
) -> dict[int, list[_Version]]:
    """{file_id: its versions that are alike}, of those of `sizes` bytes that a point after LSN `after` holds."""
    if not file_ids:
        return {}

    def read() -> dict[int, list[_Version]]:
        events = whole_line(session, info.id, kept[-1].position)
        ids = pa.table({"file_id": pa.array(sorted(set(file_ids)), pa.uint64())})
        with session.lent("alike_files", ids) as files:
            rows = session.rows(sql.fill("alike", events=events, files=files))
        lsns = [point.position.lsn for point in kept]
        found: dict[int, list[_Version]] = {}
        for file_id, history in groupby(rows, key=lambda row: row[0]):
            for version, pieces in _versions(list(history), lsns):
                inside = lsns[version.end - 1] > after and sizes[0] <= version.size <= sizes[1]
                if inside and judge(info, pieces(), version.size):
                    found.setdefault(file_id, []).append(version)
        return found

    return session.reading(read)


def _versions(
    history: Sequence[tuple[Any, ...]], lsns: Sequence[int]
) -> Iterator[tuple[_Version, Callable[[], list[Piece]]]]:
    """Each version of one file that a point holds, with a way to its pieces."""
    steps = [bisect_left(lsns, row[1]) for row in history]  # the first point that holds each change
    inode: tuple[Any, ...] | None = None
    extents: list[tuple[Any, ...]] = []
    for number, row in enumerate(history):
        if row[2] == _INODE:
            inode = row
        else:
            extents.append(row)
        first = steps[number]
        end = steps[number + 1] if number + 1 < len(history) else len(lsns)
        if first < end and inode is not None and inode[3] == _FILE:
            mode, size, mtime_ns = inode[4:7]
            yield _Version(first, end, mode, size, mtime_ns), lambda size=size: _pieces(extents, size)  # type: ignore[misc]


def _pieces(extents: Sequence[tuple[Any, ...]], size: int) -> list[Piece]:
    """The pieces of a file of `size` bytes, from its extents in order of LSN."""
    inside = sorted((row for row in extents if row[7] < size and row[8] > 0), key=lambda row: (row[7], row[1]))
    cuts = [(row[7], min(row[7] + row[8], size), row[1]) for row in inside]
    found: list[Piece] = []
    for offset, end, index in visible(cuts):
        _, _, _, _, _, _, _, begin, length, pack, frame, frame_bytes, skip, digest = inside[index]
        if pack is not None:
            data = DataRef(pack, frame, frame_bytes, skip)
            found.append(Piece(offset, end - offset, data, offset - begin, length, digest))
    return found
