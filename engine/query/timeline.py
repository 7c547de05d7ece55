"""The versions of one path: what each recovery point holds there, one entry for each change.

A path is followed through the history of every directory on its way, so what happened above it
(a directory renamed or replaced) shows as well. What came to it by a rename is followed back to
where it was. Changes between two points make one version; where they left all that is kept as it was, none.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from engine.journal.data import DataReader
from engine.model.errors import Damaged, NothingThere
from engine.model.events import FILE, ROOT_ID, Inode
from engine.model.ids import Position
from engine.model.points import Point
from engine.query import sql
from engine.query.asof import incomplete, is_covered, whole_line
from engine.query.branches import Branch, branches
from engine.query.extents import pieces
from engine.query.points import points, table_of
from engine.query.restores import restores
from engine.query.same_bytes import Contents
from engine.query.session import Session

CREATED, CHANGED, ATTRIBUTES, REMOVED = "created", "changed", "attributes", "removed"
RENAMED_FROM, RENAMED_TO = "renamed from", "renamed to"
_BEGINNINGS = (CREATED, RENAMED_FROM)
_END = 1 << 62
_NAMES_MAX = 1000
_DEPTH_MAX = 4096


@dataclass(frozen=True, slots=True)
class Version:
    """What a path became at a point. `at` and `position` are those of the first point that holds it.

    `change` is one of created, changed (content), attributes, removed, renamed from, renamed to; `other` the path
    that it was renamed from or to. `path` is where this version was: another than the one asked for, before a rename.
    Of attributes all are None once nothing is there any more. `restored_by` is who brought it back by a restore in
    place; who else wrote it, a history of files does not know.
    """

    at: int
    position: Position
    change: str
    size: int | None
    mode: int | None
    file_id: int | None
    other: bytes | None = None
    path: bytes = b""
    mtime_ns: int | None = None
    uid: int | None = None
    gid: int | None = None
    restored_by: str = ""


@dataclass(frozen=True, slots=True)
class _Stay:
    """The path led to `file_id` from LSN `first` on, up to before LSN `end`."""

    file_id: int
    first: int
    end: int


@dataclass(frozen=True, slots=True)
class _Held:
    """What a point holds at the path: an inode and the LSN of its last extent."""

    inode: Inode | None = None
    written: int = 0


@dataclass(frozen=True, slots=True)
class _History:
    """One file at the points (by LSN, ascending) that hold changes of it."""

    points: list[int]
    held: list[_Held]

    def at(self, lsn: int) -> _Held:
        """As the point at an LSN holds it."""
        before = bisect_right(self.points, lsn)
        found = self.held[before - 1] if before else _Held()
        return found if found.inode else _Held()


@dataclass(frozen=True, slots=True)
class _Reads:
    """What the versions of a stream's paths are read from: its `events` and the `line` of its points, as SQL. Of a
    branch those count that are after LSN `after`."""

    session: Session
    stream: str
    events: str
    line: str
    contents: Contents
    after: int


@dataclass(frozen=True, slots=True)
class Aside:
    """The versions that a branch has of a path, those alone that came after the current lineage had left it.
    `damaged` says why they can't be read."""

    branch: Branch
    versions: tuple[Version, ...]
    damaged: str = ""


def versions(session: Session, stream: str, path: bytes, follow: bool = True) -> list[Version]:
    """Every version of a path along the current lineage, oldest first. NothingThere when it never was.

    With `follow` those too that a file had under other names before it was renamed to this one.
    """

    def read() -> list[Version]:
        found = _along(session, stream, path, follow, None)
        if not found:
            raise _never(session, stream, path)
        return found

    return session.reading(read)


def all_versions(session: Session, stream: str, path: bytes, follow: bool = True) -> tuple[list[Version], list[Aside]]:
    """(what `versions` finds, what the branches have of the path beside it, by epoch). NothingThere when it never was
    anywhere."""

    def read() -> tuple[list[Version], list[Aside]]:
        found = _along(session, stream, path, follow, None)
        sides = [_beside(session, stream, path, follow, branch) for branch in branches(session, stream)]
        told = [side for side in sides if side.versions or side.damaged]
        if not found and not any(side.versions for side in told):
            raise _never(session, stream, path)
        return found, told

    return session.reading(read)


def _never(session: Session, stream: str, path: bytes) -> NothingThere:
    if not points(session, stream, limit=1):
        return NothingThere("there is no recovery point yet", hint="the baseline has not ended: see `bcsctl status`")
    text = path.decode("utf-8", "backslashreplace")
    return NothingThere(f"there never was a {text} at any recovery point", hint="`bcsctl search` finds names")


def _beside(session: Session, stream: str, path: bytes, follow: bool, branch: Branch) -> Aside:
    try:
        return Aside(branch, tuple(_along(session, stream, path, follow, branch)))
    except Damaged as error:
        return Aside(branch, (), error.message)


def _along(session: Session, stream: str, path: bytes, follow: bool, branch: Branch | None) -> list[Version]:
    """The versions along the current lineage, or what a branch has beside it."""
    epoch, after = (branch.epoch, branch.after) if branch else (None, 0)
    kept = points(session, stream, epoch=epoch)
    if not kept:
        return []
    events = whole_line(session, stream, kept[-1].position)
    if not is_covered(session, stream, kept[-1].position):
        [(count,)] = session.rows(f"SELECT count(DISTINCT lsn) FROM {events}")
        if count != kept[-1].position.lsn:
            raise incomplete(session, stream, kept[-1].position, events, 0)
    contents = Contents(DataReader(session.journal), stream)
    reads = _Reads(session, stream, events, table_of(session, stream, epoch), contents, after)
    found = _at_path(reads, kept, b"/" + path.strip(b"/"))
    return _with_restorers(session, stream, _with_past(reads, kept, found) if follow else found)


def _at_path(reads: _Reads, kept: Sequence[Point], path: bytes) -> list[Version]:
    found = _versions(reads, kept, _stays(reads.session, reads.events, path))
    return [replace(version, path=path) for version in found]


def _with_past(reads: _Reads, kept: Sequence[Point], found: Sequence[Version]) -> list[Version]:
    """The versions, and before each that came by a rename the file's earlier ones at its other names."""
    known: dict[bytes, list[Version]] = {}
    whole: list[Version] = []
    for version in found:
        lives: list[list[Version]] = []
        at = version
        while at.change == RENAMED_FROM and at.other is not None and len(lives) < _NAMES_MAX:
            if at.other not in known:
                known[at.other] = _at_path(reads, kept, at.other)
            life = _life_before(known[at.other], at.position.lsn)
            if not life or life[-1].file_id != at.file_id:
                break
            lives.append(life)
            at = life[0]
        whole += [one for life in reversed(lives) for one in life]
        whole.append(version)
    return whole


def _life_before(there: Sequence[Version], lsn: int) -> list[Version]:
    """What was at a path last before an LSN, from when it came there on."""
    before = [one for one in there if one.position.lsn < lsn]
    begins = next((n for n in range(len(before) - 1, -1, -1) if before[n].change in _BEGINNINGS), 0)
    return before[begins:]


def _with_restorers(session: Session, stream: str, found: Sequence[Version]) -> list[Version]:
    """Versions that came while a restore in place was going on are the restorer's work."""
    acts = restores(session, stream)
    return [
        replace(one, restored_by=next((act.who for act in acts if act.begun < one.at <= act.ended), ""))
        if acts
        else one
        for one in found
    ]


def _stays(session: Session, events: str, path: bytes) -> list[_Stay]:
    """What the path led to, and when, in order of LSN."""
    stays = [_Stay(ROOT_ID, 0, _END)]
    for name in filter(None, path.split(b"/")):
        below: list[_Stay] = []
        for stay in stays:
            query = sql.fill("name_history", events=events)
            rows = session.rows(query, {"parent": stay.file_id, "name": name})
            steps = [*((lsn, file_id) for lsn, _, file_id in rows), (_END, None)]
            for (lsn, file_id), (until, _) in pairwise(steps):
                first, end = max(lsn, stay.first), min(until, stay.end)
                if file_id is not None and first < end:
                    below.append(_Stay(file_id, first, end))
        stays = sorted(below, key=lambda stay: stay.first)
    return stays


def _versions(reads: _Reads, kept: Sequence[Point], stays: Sequence[_Stay]) -> list[Version]:
    session, events = reads.session, reads.events
    lsns = [point.position.lsn for point in kept]
    files = {stay.file_id for stay in stays}
    histories = {file_id: _history(session, events, reads.line, file_id) for file_id in files}
    looks: set[int] = set()
    for stay in stays:
        first, end = bisect_left(lsns, stay.first), bisect_left(lsns, stay.end)
        changed = histories[stay.file_id].points
        inside = changed[bisect_left(changed, stay.first) : bisect_right(changed, lsns[min(end, len(lsns) - 1)])]
        looks.update((first, end, *(bisect_left(lsns, lsn) for lsn in inside)))
    found: list[Version] = []
    begin = bisect_right(lsns, reads.after)
    before = _held(stays, histories, lsns[begin - 1] if begin else 0)
    for index in sorted(look for look in looks if begin <= look < len(kept)):
        now = _held(stays, histories, lsns[index])
        last = lsns[index - 1] if index else 0
        if index and _same_content(reads, kept[index - 1].position, before, kept[index].position, now):
            before = _with_content_of(before, now)
        version = _version(session, events, kept[index], before, now, last)
        if version:
            found.append(version)
        before = now
    return found


def _same_content(reads: _Reads, earlier: Position, before: _Held, later: Position, now: _Held) -> bool:
    """Whether what was written again, or put back under another inode, left the content as it was.

    Asked of files only that have the size and the time that they had: others have been worked on.
    """
    old, new = before.inode, now.inode
    if (
        old is None
        or new is None
        or old.type != new.type
        or (old.file_id, before.written) == (new.file_id, now.written)
    ):
        return False
    if new.type != FILE:
        return True
    if (old.size, old.mtime_ns) != (new.size, new.mtime_ns):
        return False
    left = pieces(reads.session, reads.stream, earlier, [old.file_id])[old.file_id]
    right = pieces(reads.session, reads.stream, later, [new.file_id])[new.file_id]
    return reads.contents.same(new.size, left, right)


def _with_content_of(before: _Held, now: _Held) -> _Held:
    """What was there before, as the very file that is there now."""
    assert before.inode is not None and now.inode is not None
    return _Held(replace(before.inode, file_id=now.inode.file_id, size=now.inode.size), now.written)


def _history(session: Session, events: str, line: str, file_id: int) -> _History:
    points: list[int] = []
    held: list[_Held] = []
    now = _Held()
    query = sql.fill("file_history", events=events, points=line)
    for point, described, written in session.rows(query, {"file_id": file_id}):
        inode = now.inode
        if described is not None:
            fields = {name: value for name, value in described.items() if name != "type"}
            inode = Inode(file_id=file_id, type=chr(described["type"]), **fields)
        now = _Held(inode, written if written is not None else now.written)
        points.append(point)
        held.append(now)
    return _History(points, held)


def _held(stays: Sequence[_Stay], histories: dict[int, _History], lsn: int) -> _Held:
    at = bisect_right(stays, lsn, key=lambda stay: stay.first) - 1
    if at >= 0 and lsn < stays[at].end:
        return histories[stays[at].file_id].at(lsn)
    return _Held()


def _version(session: Session, events: str, point: Point, before: _Held, now: _Held, last: int) -> Version | None:
    """What changed at the path since the point before, at LSN `last`, None for nothing."""
    old, new = before.inode, now.inode
    change, other = "", None
    if old is None and new is not None:
        other = _path_at(session, events, new.file_id, last) if last and new.file_id <= last else None
        change = RENAMED_FROM if other else CREATED
    elif old is not None and new is None:
        other = _path_at(session, events, old.file_id, point.position.lsn)
        change = RENAMED_TO if other else REMOVED
    elif old is not None and new is not None:
        if (old.file_id, old.size, before.written) != (new.file_id, new.size, now.written):
            change = CHANGED
        elif _attributes(old) != _attributes(new):
            change = ATTRIBUTES
    if not change:
        return None
    if new is None:
        return Version(point.at, point.position, change, None, None, None, other)
    described = (new.size, new.mode, new.file_id, other, b"", new.mtime_ns, new.uid, new.gid)
    return Version(point.at, point.position, change, *described)


def _attributes(inode: Inode) -> tuple[object, ...]:
    time = 0 if inode.type == "d" else inode.mtime_ns
    return (inode.type, inode.mode, inode.uid, inode.gid, time, inode.rdev, inode.target, inode.xattrs)


def _path_at(session: Session, events: str, file_id: int, lsn: int) -> bytes | None:
    """A path that led to a file at an LSN, None if none did."""
    names: list[bytes] = []
    while file_id != ROOT_ID:
        live: dict[tuple[int, bytes], int | None] = {}
        for parent, name, at, target in session.rows(sql.fill("names_of", events=events), {"file_id": file_id}):
            if at <= lsn:
                live[parent, name] = target
        above = next(((parent, name) for (parent, name), target in live.items() if target == file_id), None)
        if above is None or len(names) > _DEPTH_MAX:
            return None
        file_id = above[0]
        names.append(above[1])
    return b"".join(b"/" + name for name in reversed(names))
