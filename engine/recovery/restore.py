"""Restore to a directory: make what the plan says, fill it, set attributes, and report honestly.

Directories are made first and finished last; files are filled in order of where their bytes
lie, so a frame that many small files share is opened once. What stands at a planned name is
replaced in one step, or left alone when it is whole already.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from engine.journal.data import DataReader
from engine.journal.open import Journal
from engine.model.events import FILE
from engine.model.extents import Piece
from engine.plan.restore import Made, RestorePlan, shares
from engine.plan.standing import Seen, Standing
from engine.recovery import large
from engine.recovery.fill import FileTask, Filled
from engine.recovery.whole import whole
from engine.recovery.workers import (
    SHARES_EACH,
    SHARES_MAX,
    SMALL_BYTES,
    fill_in_processes,
    fill_on_threads,
    worth_processes,
)
from engine.tree.apply import CannotMake, Shortfall, deepest_first, finish, link, make
from engine.tree.replacing import Replacing, move_aside

Progress = Callable[[int, int], None]
"""Called with files and bytes done since the last call."""
TOLD_FILES, TOLD_BYTES = 100, 1 << 20
"""So much is done before it is told: many small files would spend more on being told of than a large one."""


@dataclass(frozen=True, slots=True)
class Helping:
    """What processes that help need to open a local journal themselves, and how many there are to be."""

    journal: Path
    master_key: bytes
    processes: int


@dataclass(frozen=True, slots=True)
class Onto:
    """A target that holds things: what of them is in the way, and what becomes of it.

    `id` names the restore. `overwrite`: what is there may be others'; `aside` keeps it under another name. `again`: an
    earlier run of this very restore began there; `made` then says that it made the target.
    """

    standing: Standing
    id: str
    overwrite: bool = False
    aside: bool = False
    again: bool = False
    made: bool = False


@dataclass(slots=True)
class Restored:
    """What a restore did. `failures` are files that are not there: path and why; `damaged` says that of some the
    journal was the cause. `shortfalls` are attributes that could not be set (without root, foreign owners). Of `files`
    `kept` were whole already, `kept_aside` are new names of what stood in the way."""

    files: int = 0
    names: int = 0
    bytes_written: int = 0
    failures: list[tuple[bytes, str]] = field(default_factory=list)
    shortfalls: list[str] = field(default_factory=list)
    damaged: bool = False
    kept: int = 0
    kept_aside: list[bytes] = field(default_factory=list)


def restore(
    journal: Journal,
    stream: str,
    plan: RestorePlan,
    pieces: Mapping[int, Sequence[Piece]],
    *,
    owners: bool,
    progress: Progress,
    helping: Helping | None = None,
    onto: Onto | None = None,
) -> Restored:
    """Carry out a plan whose target has been checked. `pieces` are those of every file by file_id;
    with `helping`, large restores are shared out to processes."""
    done = Restored()
    onto = onto or Onto(Standing(), "")
    made_target = not os.path.lexists(plan.target) or onto.made
    os.makedirs(plan.target, exist_ok=True)
    if made_target:
        os.chmod(plan.target, 0o700)  # nobody looks in before all modes and owners below are as they were
    move_aside(onto.standing.conflicts, onto.id, done.kept_aside.append)
    directories = _make_directories(plan, made_target, onto, done)
    kept = _kept(journal, stream, plan, pieces, onto, helping, progress)
    taken = _taken(plan, onto, kept)
    replacing = Replacing(taken, onto.id, onto.aside)
    replacing.sweep([plan.target, *onto.standing.directories] if onto.again else ())
    failed: set[bytes] = set()
    _fill_files(journal, stream, plan, pieces, owners, progress, helping, (onto, kept, replacing), done, failed)
    _make_others(plan.others, owners, replacing, kept, done, failed)
    replacing.settle()
    _link_all((*plan.files, *plan.others), onto.standing.settled, replacing, failed, done)
    replacing.settle()
    done.kept_aside += replacing.kept_aside
    for made in (*plan.files, *plan.others):
        if made.target in kept:
            done.shortfalls += [str(each) for each in finish(made.target, made.inode, owners)]
    for target in deepest_first(directories):
        done.shortfalls += [str(shortfall) for shortfall in finish(target, directories[target].inode, owners)]
    if made_target and plan.target not in directories:
        os.chmod(plan.target, 0o777 & ~umask())
    return done


def umask() -> int:
    """The mode bits that this process gives to nothing it makes (proc(5))."""
    for line in Path("/proc/self/status").read_text("ascii", "replace").splitlines():
        if line.startswith("Umask:"):
            return int(line.split()[1], 8)
    return 0o077


def _kept(
    journal: Journal,
    stream: str,
    plan: RestorePlan,
    pieces: Mapping[int, Sequence[Piece]],
    onto: Onto,
    helping: Helping | None,
    progress: Progress,
) -> set[bytes]:
    """The targets that need not be made: of those that look alike the ones that hold what they are to hold."""
    alike = onto.standing.alike
    files = [made for made in plan.files if made.target in alike]
    threads = helping.processes if helping else 1
    found = whole(files, pieces, DataReader(journal), stream, threads, progress) if files else set()
    return found | {made.target for made in plan.others if made.target in alike}


def _taken(plan: RestorePlan, onto: Onto, kept: set[bytes]) -> Mapping[bytes, Seen]:
    """The names at which something stands that has to make room."""
    unlike, standing = Seen(FILE, 0, 0), onto.standing
    taken = dict(standing.in_the_way) | dict.fromkeys(standing.alike - kept, unlike)
    if standing.alike - kept:  # a further name of a file that turned out to be another one leads to that one still
        taken |= dict.fromkeys(standing.settled, unlike)
    if onto.again and not onto.overwrite:  # a large file of ours that was not finished is gone on with
        sizes = {made.target: made.inode.size for made in plan.files if made.inode.size > large.PART_BYTES}
        taken = {name: seen for name, seen in taken.items() if not 0 < seen.size == sizes.get(name)}
    return taken


def _make_directories(plan: RestorePlan, made_target: bool, onto: Onto, done: Restored) -> dict[bytes, Made]:
    """Make every directory, and the way to the first; answers those to finish, by path."""
    mine: dict[bytes, Made] = {}
    there = onto.standing.directories
    for one in plan.directories:
        if one.target.rstrip(b"/") == plan.target.rstrip(b"/"):
            # The target itself is given attributes only if it was not there before.
            if made_target:
                mine[plan.target] = one
            continue
        try:
            if one.target not in there:
                os.makedirs(os.path.dirname(one.target), exist_ok=True)
                make(one.target, one.inode)
            elif not os.access(one.target, os.W_OK | os.X_OK):
                os.chmod(one.target, 0o700)  # its own mode comes at the end
        except (CannotMake, OSError) as error:
            _only_too_long(one.target, error, done)
            continue
        mine[one.target] = one
        done.names += 1
    parents = {name.rpartition(b"/")[0] for one in (*plan.files, *plan.others) for name in (one.target, *one.links)}
    for parent in parents - mine.keys():
        with _unless_too_long():  # each name says so itself when it can't be made
            os.makedirs(parent or b"/", exist_ok=True)
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


def _fill_files(
    journal: Journal,
    stream: str,
    plan: RestorePlan,
    pieces: Mapping[int, Sequence[Piece]],
    owners: bool,
    progress: Progress,
    helping: Helping | None,
    place: tuple[Onto, set[bytes], Replacing],
    done: Restored,
    failed: set[bytes],
) -> None:
    """Make and fill all files that are not whole yet."""
    onto, kept, replacing = place
    done.kept = sum(made.target in kept for made in plan.files)
    done.files, done.names = done.files + done.kept, done.names + done.kept
    names = {replacing.place(made.target): made for made in plan.files if made.target not in kept}
    tasks = [_task(onto, where, made, pieces) for where, made in names.items()]
    tasks.sort(key=_where)
    files = count = 0
    for filled in large.fill(tasks, owners, lambda parts: _fill(journal, stream, parts, owners, helping)):
        made = names[filled.target]
        done.shortfalls += filled.shortfalls
        if filled.failure:
            failed.add(made.target)
            done.failures.append((made.target, filled.failure))
            done.damaged |= filled.damaged
        elif not filled.part:
            done.files += 1
            done.names += 1
            replacing.arrived(made.target, made.inode.size)
        done.bytes_written += filled.bytes_written
        files, count = files + (not filled.part), count + filled.bytes_written
        if files >= TOLD_FILES or count >= TOLD_BYTES:
            progress(files, count)
            files = count = 0
    progress(files, count)


def _task(onto: Onto, where: bytes, made: Made, pieces: Mapping[int, Sequence[Piece]]) -> FileTask:
    """A file to fill at `where`. What a run before this one left there is mended if it is large, else taken away."""
    task = FileTask(where, made.inode, tuple(pieces.get(made.inode.file_id, ())))
    if not onto.again or not os.path.lexists(where):
        return task
    if made.inode.size > large.PART_BYTES and os.lstat(where).st_size == made.inode.size:
        return replace(task, mend=True)
    os.unlink(where)
    return task


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
    cut = shares([task.size for task in small], min(threads * SHARES_EACH, SHARES_MAX))
    yield from fill_in_processes(journal, stream, small, [share for share in cut if share], owners, threads)
    yield from fill_on_threads(journal, stream, [task for task in tasks if task.size >= SMALL_BYTES], owners, threads)


def _make_others(
    others: Sequence[Made], owners: bool, replacing: Replacing, kept: set[bytes], done: Restored, failed: set[bytes]
) -> None:
    for one in others:
        if one.target in kept:
            done.names += 1
            continue
        attributes, where = one.inode, replacing.place(one.target)
        try:
            _away(where, one.target)
            missing = make(where, attributes)
        except CannotMake as error:
            failed.add(one.target)
            _only_too_long(one.target, error, done)
            continue
        if missing is not None:
            failed.add(one.target)
            done.failures.append((one.target, f"it can't be made here: {_reason(missing)}"))
            continue
        done.names += 1
        done.shortfalls += [str(shortfall) for shortfall in finish(where, attributes, owners)]
        replacing.arrived(one.target, 0)


def _link_all(
    made: Iterable[Made], settled: frozenset[bytes], replacing: Replacing, failed: set[bytes], done: Restored
) -> None:
    for one in made:
        for name in one.links:
            if one.target in failed:
                done.failures.append((name, f"a further name of {os.fsdecode(one.target)}"))
                continue
            where = replacing.place(name)
            if name in settled and where == name:
                done.names += 1
                continue
            try:
                _away(where, name)
                missing = link(one.target, where)
            except CannotMake as error:
                _only_too_long(name, error, done)
                continue
            if missing is not None:
                done.failures.append((name, f"a further name of {os.fsdecode(one.target)}: {_reason(missing)}"))
            else:
                done.names += 1
                replacing.arrived(name, 0)


def _away(where: bytes, name: bytes) -> None:
    """Remove what a run that was killed has left beside a name."""
    if where != name and os.path.lexists(where):
        os.unlink(where)


def _reason(missing: Shortfall) -> str:
    return os.strerror(missing.errno)
