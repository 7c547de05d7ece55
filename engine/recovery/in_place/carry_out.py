"""Carrying out a restore in place: files are exchanged in one step, or written to where they differ.

Every byte's hash is checked before it is written, those of a file before the first of them is: a file that can't be
brought back whole stays as it was. Capture sees the writes as it sees any.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from engine.journal.data import DataReader
from engine.journal.open import Journal
from engine.model.errors import BcsError, Damaged, Failed
from engine.model.events import DIRECTORY, FILE, Inode
from engine.model.extents import Piece
from engine.plan.in_place import Turn
from engine.plan.restore import Made, RestorePlan
from engine.recovery.fill import FileTask, fill
from engine.recovery.in_place.prepare import Prepared
from engine.recovery.readback import read_back
from engine.recovery.restore import Progress, Restored
from engine.tree.apply import deepest_first, finish, make, set_size, write_extent
from engine.tree.instead import put, put_link, refuse, take_away
from engine.tree.settle import sync
from engine.tree.sparse import make_hole

_OPEN = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


@dataclass(slots=True)
class Outcome:
    """What was done. `restored` counts paths that were made or written; `removed` those that are gone."""

    restored: Restored = field(default_factory=Restored)
    removed: int = 0
    differences: list[tuple[bytes, str]] = field(default_factory=list)

    @property
    def verified(self) -> bool:
        return not self.restored.failures and not self.differences


def carry_out(
    journal: Journal, prepared: Prepared, outcome: Outcome, *, owners: bool, progress: Progress, verify: bool
) -> None:
    """Change the disk. What fails is told and leaves its path as it was; the others go on. `outcome` has at any moment
    what was done, if this is broken off too."""
    plan = prepared.plan
    done = outcome.restored
    reader, stream = DataReader(journal), prepared.stream.id
    _remove(plan.cleared, outcome)
    for turn in plan.made:
        _attempt(done, turn.path, partial(_make, prepared, turn, reader, owners, done))
        progress(1, turn.right.size if turn.right and turn.right.type == FILE else 0)
    for turn in plan.rewritten:
        _attempt(done, turn.path, partial(_rewrite, prepared, turn, reader, done))
        progress(1, sum(piece.length for piece in prepared.pieces_to_write(turn)))
    for turn, target in plan.linked:
        _attempt(done, turn.path, partial(put_link, target, turn.path))
    _remove(plan.removed, outcome)
    failed = {path for path, _ in done.failures}
    inodes = dict(plan.settled)
    inodes |= {turn.path: turn.right for turn in (*plan.made, *plan.rewritten, *plan.changed) if turn.right}
    for path in deepest_first(set(inodes) - failed):
        done.shortfalls += [str(each) for each in finish(path, inodes[path], owners)]
    _sync(inodes)
    if verify:
        outcome.differences = read_back(journal, stream, *_as_restored(prepared), done, owners)


def _sync(inodes: dict[bytes, Inode]) -> None:
    """What was changed is on its disks afterwards."""
    synced: set[int] = set()
    for directory in {os.path.dirname(path) or b"/" for path in inodes}:
        device = os.stat(directory).st_dev
        if device not in synced:
            synced.add(device)
            sync(directory)


def _attempt(done: Restored, path: bytes, act: Callable[[], None]) -> None:
    try:
        act()
        done.names += 1
    except (BcsError, OSError) as error:
        message = error.message if isinstance(error, BcsError) else os.strerror(error.errno or 0)
        done.failures.append((path, message))
        done.damaged |= isinstance(error, Damaged)


def _remove(turns: Sequence[Turn], outcome: Outcome) -> None:
    kinds = {turn.path: turn.left.type for turn in turns if turn.left}
    for path in deepest_first(kinds):
        try:
            outcome.removed += take_away(path, kinds[path])
        except OSError as error:
            outcome.restored.failures.append((path, f"not removed: {os.strerror(error.errno or 0)}"))


def _make(prepared: Prepared, turn: Turn, reader: DataReader, owners: bool, done: Restored) -> None:
    assert turn.right is not None
    inode = turn.right
    if inode.type == DIRECTORY:
        refuse(make(turn.path, inode))
    elif inode.type == FILE:
        put(turn.path, partial(_fill, prepared, turn, reader, owners, done))
    else:
        put(turn.path, lambda new: refuse(make(new, inode)))


def _fill(prepared: Prepared, turn: Turn, reader: DataReader, owners: bool, done: Restored, new: bytes) -> None:
    assert turn.right is not None
    task = FileTask(new, turn.right, tuple(prepared.after[turn.path]))
    filled = fill(task, reader, prepared.stream.id, owners)
    if filled.failure:
        raise (Damaged if filled.damaged else Failed)(filled.failure)
    done.bytes_written += filled.bytes_written
    done.files += 1


def _rewrite(prepared: Prepared, turn: Turn, reader: DataReader, done: Restored) -> None:
    """Write the ranges that differ into the file as it stands, once every one of them has been read and checked."""
    assert turn.right is not None
    stream, wanted = prepared.stream.id, prepared.pieces_to_write(turn)
    for piece in wanted:
        reader.read(piece, stream)
    fd = os.open(turn.path, _OPEN)
    try:
        for begin, end in prepared.holes_to_make(turn):
            make_hole(fd, begin, end - begin)
        for piece in wanted:
            write_extent(fd, piece.offset, reader.read(piece, stream))
            done.bytes_written += piece.length
        set_size(fd, turn.right.size)
        os.fdatasync(fd)
        done.files += 1
    finally:
        os.close(fd)


def _as_restored(prepared: Prepared) -> tuple[RestorePlan, dict[int, list[Piece]]]:
    """What was changed in the form that reading back wants."""
    turns = [turn for turn in (*prepared.plan.made, *prepared.plan.rewritten, *prepared.plan.changed) if turn.right]
    links: dict[bytes, list[bytes]] = {}
    for turn, target in prepared.plan.linked:
        links.setdefault(target, []).append(turn.path)
    found = [Made(turn.path, turn.right, tuple(links.get(turn.path, ()))) for turn in turns if turn.right]
    by_file = {
        turn.right.file_id: list(prepared.after[turn.path])
        for turn in turns
        if turn.right and turn.path in prepared.after
    }
    # Of what only its attributes changed the bytes were not looked at, and are not now.
    contents = [made for made in found if made.inode.type == FILE and made.target in prepared.after]
    others = [made for made in found if made.inode.type not in (DIRECTORY, FILE)]
    directories = [made for made in found if made.inode.type == DIRECTORY]
    return RestorePlan(b"", tuple(directories), tuple(contents), tuple(others)), by_file
