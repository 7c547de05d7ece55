"""Restore to a directory: make what the plan says, fill it, set attributes, and report honestly.

Directories are made first and finished last; files are filled in order of where their bytes
lie, so a frame that many small files share is opened once.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from engine.journal.open import Journal
from engine.model.extents import Piece
from engine.plan.restore import Made, RestorePlan, shares
from engine.recovery import large
from engine.recovery.fill import FileTask, Filled, attributes_of
from engine.recovery.workers import SMALL_BYTES, Work, fill_in_processes, fill_on_threads, worth_processes
from engine.tree.apply import CannotMake, Shortfall, deepest_first, finish, link, make

Progress = Callable[[int, int], None]
"""Called with files and bytes done since the last call."""


@dataclass(frozen=True, slots=True)
class Helping:
    """What processes that help need to open a local journal themselves, and how many there are to be."""

    journal: Path
    master_key: bytes
    processes: int


@dataclass(slots=True)
class Restored:
    """What a restore did. `failures` are files that are not there: path and why; `damaged` says that of some the
    journal was the cause. `shortfalls` are attributes that could not be set (without root, foreign owners)."""

    files: int = 0
    names: int = 0
    bytes_written: int = 0
    failures: list[tuple[bytes, str]] = field(default_factory=list)
    shortfalls: list[str] = field(default_factory=list)
    damaged: bool = False


def restore(
    journal: Journal,
    stream: str,
    plan: RestorePlan,
    pieces: Mapping[int, Sequence[Piece]],
    *,
    owners: bool,
    progress: Progress,
    helping: Helping | None = None,
) -> Restored:
    """Carry out a plan whose target has been checked. `pieces` are those of every file by file_id;
    with `helping`, large restores are shared out to processes."""
    done = Restored()
    made_target = not os.path.lexists(plan.target)
    os.makedirs(plan.target, exist_ok=True)
    if made_target:
        usual = stat.S_IMODE(os.stat(plan.target).st_mode)
        os.chmod(plan.target, 0o700)  # nobody looks in before all modes and owners below are as they were
    directories = _make_directories(plan, made_target, done)
    tasks = _tasks(plan.files, pieces)
    failed: set[bytes] = set()
    for filled in large.fill(tasks, owners, lambda parts: _fill(journal, stream, parts, owners, helping)):
        done.shortfalls += filled.shortfalls
        if filled.failure:
            failed.add(filled.target)
            done.failures.append((filled.target, filled.failure))
            done.damaged |= filled.damaged
        elif not filled.part:
            done.files += 1
            done.names += 1
        done.bytes_written += filled.bytes_written
        progress(0 if filled.part else 1, filled.bytes_written)
    _make_others(plan.others, owners, done, failed)
    _link_all((*plan.files, *plan.others), failed, done)
    for target in deepest_first(directories):
        done.shortfalls += [
            str(shortfall) for shortfall in finish(target, attributes_of(directories[target].inode), owners)
        ]
    if made_target and plan.target not in directories:
        os.chmod(plan.target, usual)
    return done


def _make_directories(plan: RestorePlan, made_target: bool, done: Restored) -> dict[bytes, Made]:
    """Make every directory, and the way to the first; answers those to finish, by path."""
    mine: dict[bytes, Made] = {}
    for one in plan.directories:
        if one.target.rstrip(b"/") == plan.target.rstrip(b"/"):
            # The target itself is given attributes only if it was not there before.
            if made_target:
                mine[plan.target] = one
            continue
        try:
            os.makedirs(os.path.dirname(one.target), exist_ok=True)
            make(one.target, attributes_of(one.inode))
        except (CannotMake, OSError) as error:
            _only_too_long(one.target, error, done)
            continue
        mine[one.target] = one
        done.names += 1
    for one in (*plan.files, *plan.others):
        if os.path.dirname(one.target) not in mine:
            with _unless_too_long():  # each says so itself when it can't be made
                os.makedirs(os.path.dirname(one.target), exist_ok=True)
    return mine


def _only_too_long(target: bytes, error: CannotMake | OSError, done: Restored) -> None:
    """Note what is too deep, or named too long, for this place; all else that can't be made ends the restore."""
    if error.errno != errno.ENAMETOOLONG:
        raise error
    done.failures.append((target, f"it can't be made here: {os.strerror(errno.ENAMETOOLONG)}"))


@contextmanager
def _unless_too_long() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise


def _tasks(files: Sequence[Made], pieces: Mapping[int, Sequence[Piece]]) -> list[FileTask]:
    tasks = [FileTask(one.target, one.inode, tuple(pieces.get(one.inode.file_id, ()))) for one in files]
    return sorted(tasks, key=_where)


def _where(task: FileTask) -> tuple[str, int, int]:
    for piece in task.pieces:
        if piece.data is not None:
            return piece.data.pack, piece.data.frame, piece.data.skip
    return "", 0, 0


def _fill(
    journal: Journal, stream: str, tasks: Sequence[FileTask], owners: bool, helping: Helping | None
) -> Iterator[Filled]:
    """Many small files in processes; large ones, and parts of them, on threads: the libraries leave those free."""
    threads = helping.processes if helping else 1
    if helping is None or threads < 2 or not worth_processes(tasks):
        yield from fill_on_threads(journal, stream, tasks, owners, threads)
        return
    small = [task for task in tasks if task.size < SMALL_BYTES]
    cut = shares([task.size for task in small], threads)
    yield from fill_in_processes(
        [
            Work(str(helping.journal), helping.master_key, stream, owners, tuple(small[index] for index in share))
            for share in cut
            if share
        ]
    )
    yield from fill_on_threads(journal, stream, [task for task in tasks if task.size >= SMALL_BYTES], owners, threads)


def _make_others(others: Sequence[Made], owners: bool, done: Restored, failed: set[bytes]) -> None:
    for one in others:
        attributes = attributes_of(one.inode)
        try:
            missing = make(one.target, attributes)
        except CannotMake as error:
            failed.add(one.target)
            _only_too_long(one.target, error, done)
            continue
        if missing is not None:
            failed.add(one.target)
            done.failures.append((one.target, f"it can't be made here: {_reason(missing)}"))
            continue
        done.names += 1
        done.shortfalls += [str(shortfall) for shortfall in finish(one.target, attributes, owners)]


def _link_all(made: Sequence[Made], failed: set[bytes], done: Restored) -> None:
    for one in made:
        for name in one.links:
            if one.target in failed:
                done.failures.append((name, f"a further name of {os.fsdecode(one.target)}"))
                continue
            try:
                missing = link(one.target, name)
            except CannotMake as error:
                _only_too_long(name, error, done)
                continue
            if missing is not None:
                done.failures.append((name, f"a further name of {os.fsdecode(one.target)}: {_reason(missing)}"))
            else:
                done.names += 1


def _reason(missing: Shortfall) -> str:
    return os.strerror(missing.errno)
