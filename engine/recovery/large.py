"""Large files are filled in parts, so that several workers share one; they are finished when all parts are there.

The file is made, with its whole size, before its parts are handed out, and taken away again if one of them fails.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby

from engine.model.errors import BcsError
from engine.recovery.fill import FileTask, Filled, take_away
from engine.tree.apply import create_file, finish, set_size

PART_BYTES = 16 << 20


def fill(
    tasks: Sequence[FileTask], owners: bool, each: Callable[[Sequence[FileTask]], Iterable[Filled]]
) -> Iterator[Filled]:
    """What `each` gives for the tasks, large ones cut into parts; for each large file one answer more, the last.

    Parts that were filled are told as such, so that progress shows; what failed is told once, for the whole file.
    """
    whole = {task.target: task for task in tasks if task.inode.size > PART_BYTES}
    failures: dict[bytes, Filled] = {}
    handed_out: list[FileTask] = []
    for task in tasks:
        if task.target not in whole:
            handed_out.append(task)
            continue
        failure = _make(task)
        if failure is None:
            handed_out += parts_of(task)
        else:
            del whole[task.target]  # whatever is there is not ours
            yield failure
    for filled in each(handed_out):
        if not filled.part or not filled.failure:
            yield filled
        else:
            failures.setdefault(filled.target, Filled(filled.target, 0, (), filled.failure, filled.damaged))
    for target, task in whole.items():
        yield _end(task, owners, failures.get(target))


def parts_of(task: FileTask) -> Iterator[FileTask]:
    """The pieces of a file in runs of about PART_BYTES, each a task of its own."""
    for _, pieces in groupby(task.pieces, key=lambda piece: piece.offset // PART_BYTES):
        yield FileTask(task.target, task.inode, tuple(pieces), part=True, mend=task.mend)


def _make(task: FileTask) -> Filled | None:
    """The file, empty but of its whole size; what failed, if it could not be made. One that was begun is there."""
    if task.mend:
        return None
    try:
        fd = create_file(task.target)
    except BcsError as error:
        return Filled(task.target, 0, failure=error.message)
    try:
        set_size(fd, task.inode.size)
    except OSError as error:
        take_away(task.target)
        return Filled(task.target, 0, failure=os.strerror(error.errno or 0))
    finally:
        os.close(fd)
    return None


def _end(task: FileTask, owners: bool, failure: Filled | None) -> Filled:
    """Attributes for a file whose parts are all there; else it is taken away."""
    if failure is not None:
        take_away(task.target)
        return failure
    missing = finish(task.target, task.inode, owners)
    return Filled(task.target, 0, tuple(str(shortfall) for shortfall in missing))
