"""What a restore in place would change: what differs between a mark that was just set and the moment asked for.

The disk must still be as that mark says wherever something is to change, else nothing is begun. Touches nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from engine.model.errors import NothingThere, Refused
from engine.model.events import DIRECTORY, FILE, Inode
from engine.model.extents import Piece
from engine.model.ids import Position
from engine.model.points import Point
from engine.plan.in_place import InPlacePlan, Turn, plan_in_place
from engine.plan.matching import fixed_part, is_pattern, nothing_matched
from engine.query.diff import REMOVED, RENAMED, Change, diff
from engine.query.emptied import last_held
from engine.query.extents import pieces
from engine.query.session import Session
from engine.query.streams import StreamInfo
from engine.query.tree import Entry, as_entries, tree_table
from engine.recovery.restoring import seconds_for
from engine.tree.instead import is_as
from engine.tree.match import compile_excludes
from engine.tree.paths import shown

CONFLICTS_NAMED = 5

Ranges = list[tuple[int, int]]
IsMeant = Callable[[bytes, bool], bool]
"""Of a path, and whether it is a directory."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A restore in place that could begin. `before` and `after` are where the bytes of the files in `plan.rewritten`
    are, by path; `after` also of those in `plan.made`."""

    stream: StreamInfo
    now: Point
    point: Point
    plan: InPlacePlan
    before: Mapping[bytes, Sequence[Piece]]
    after: Mapping[bytes, Sequence[Piece]]

    @property
    def bytes(self) -> int:
        """How many will be written."""
        whole = sum(turn.right.size for turn in self.plan.made if turn.right and turn.right.type == FILE)
        return whole + sum(sum(piece.length for piece in self.pieces_to_write(turn)) for turn in self.plan.rewritten)

    @property
    def seconds_estimated(self) -> float:
        """About how long it takes, with the mark before it."""
        plan = self.plan
        parts = (plan.cleared, plan.removed, plan.made, plan.linked, plan.rewritten, plan.changed)
        return seconds_for(sum(map(len, parts)), self.bytes)

    def pieces_to_write(self, turn: Turn) -> list[Piece]:
        """Of a file that is rewritten the pieces that it does not have already."""
        there = {_key(piece) for piece in self.before[turn.path]}
        return [piece for piece in self.after[turn.path] if _key(piece) not in there]

    def holes_to_make(self, turn: Turn) -> Ranges:
        """(begin, end) of what is a hole then and is none now."""
        assert turn.right is not None
        return list(
            _without(_covered(self.before[turn.path], turn.right.size), _covered(self.after[turn.path], 1 << 62))
        )


def prepare(
    session: Session, stream: StreamInfo, now: Point, point: Point, paths: Sequence[bytes], exact: bool
) -> Prepared:
    """Look at what differs, at and below some paths. NothingThere when nothing was at any of them then.

    A path with wildcards that is no file's name stands for all that it matches, then or now.
    """
    turns: list[Turn] = []
    inodes: dict[bytes, Inode] = {}
    names: dict[int, list[bytes]] = {}
    missing: list[NothingThere] = []
    for path in paths:
        try:
            base, is_meant, entries = _there(session, stream.id, point.position, path)
        except NothingThere as error:
            missing.append(error)
            continue
        turns += _meant(list(_turns(diff(session, stream.id, now.position, point.position, base))), is_meant)
        for entry in entries:
            if entry.inode.type == DIRECTORY:
                inodes[entry.path] = entry.inode
            elif is_meant(entry.path, False):
                names.setdefault(entry.inode.file_id, []).append(entry.path)
    if len(missing) == len(paths):
        raise last_held(missing[0], session, stream.id, point.position, paths)
    several = {file_id: tuple(paths) for file_id, paths in names.items() if len(paths) > 1}
    plan = plan_in_place(turns, several, inodes, exact)
    lefts = {turn.path: turn.left.file_id for turn in plan.rewritten if turn.left}
    rights = {turn.path: turn.right.file_id for turn in (*plan.rewritten, *plan.made) if turn.right}
    old = pieces(session, stream.id, now.position, set(lefts.values()))
    new = pieces(session, stream.id, point.position, set(rights.values()))
    return Prepared(
        *(stream, now, point, plan),
        {path: old[file_id] for path, file_id in lefts.items()},
        {path: new[file_id] for path, file_id in rights.items()},
    )


def _there(session: Session, stream: str, position: Position, path: bytes) -> tuple[bytes, IsMeant, list[Entry]]:
    """(the directory or file that is looked at, what of it is meant, what was in it then)."""
    try:
        return path, lambda path, is_directory: True, list(as_entries(tree_table(session, stream, position, path)))
    except NothingThere:
        if not is_pattern(path):
            raise
    base, is_meant = fixed_part(path), compile_excludes([path])
    entries = list(as_entries(tree_table(session, stream, position, base)))
    if not any(entry.path != base and is_meant(entry.path, entry.inode.type == DIRECTORY) for entry in entries):
        raise nothing_matched(path)
    return base, is_meant, entries


def _meant(turns: Sequence[Turn], is_meant: IsMeant) -> Iterator[Turn]:
    """Those that are meant, and the directories that lead to them, where these are to be made."""
    known = {turn.path: turn for turn in turns}
    found: dict[bytes, Turn] = {}
    for turn in turns:
        kinds = {inode.type for inode in (turn.left, turn.right) if inode is not None}
        if not is_meant(turn.path, DIRECTORY in kinds):
            continue
        found[turn.path] = turn
        above = turn.path.rpartition(b"/")[0]
        while turn.right is not None and (leading := known.get(above)) is not None and not _is_directory(leading.left):
            found[above] = leading
            above = above.rpartition(b"/")[0]
    yield from found.values()


def _is_directory(inode: Inode | None) -> bool:
    return inode is not None and inode.type == DIRECTORY


def _turns(changes: Iterable[Change]) -> Iterator[Turn]:
    for change in changes:
        if change.kind == RENAMED and change.old_path is not None:
            yield Turn(change.old_path, change.left, None)
            yield Turn(change.path, None, change.right)
        else:
            yield Turn(change.path, change.left, None if change.kind == REMOVED else change.right, change.content)


def check(prepared: Prepared) -> None:
    """Refused where the disk is not as the mark says: someone has gone on working there."""
    conflicts = [path for path, wanted in _expected(prepared.plan) if not is_as(path, left_of(wanted))]
    if conflicts:
        named = ", ".join(shown(path) for path in conflicts[:CONFLICTS_NAMED])
        more = f" and {len(conflicts) - CONFLICTS_NAMED} more" if len(conflicts) > CONFLICTS_NAMED else ""
        raise Refused(
            f"changed since the mark that was just set: {named}{more}",
            hint="nothing was touched: stop what writes there and try again",
            details={"conflicts": [shown(path) for path in conflicts]},
        )


def _expected(plan: InPlacePlan) -> Iterator[tuple[bytes, Inode | None]]:
    for turn in (*plan.cleared, *plan.removed, *plan.made, *plan.rewritten, *plan.changed):
        yield turn.path, turn.left
    for turn, _ in plan.linked:
        yield turn.path, turn.left


def left_of(inode: Inode | None) -> tuple[str, int, int] | None:
    """What is looked at once more of what is at a path: type, size, times."""
    return None if inode is None else (inode.type, inode.size, inode.mtime_ns)


def _key(piece: Piece) -> tuple[int, int, int, int, bytes]:
    return piece.offset, piece.length, piece.skip, piece.extent_length, piece.hash


def _covered(found: Sequence[Piece], size: int) -> Ranges:
    return [(piece.offset, min(piece.offset + piece.length, size)) for piece in found if piece.offset < size]


def _without(left: Ranges, right: Ranges) -> Iterator[tuple[int, int]]:
    """What of `left` no range of `right` covers; both ascending."""
    for begin, end in left:
        at = begin
        for first, last in right:
            if last <= at or first >= end:
                continue
            if first > at:
                yield at, first
            at = max(at, last)
        if at < end:
            yield at, end
