"""Write the contents of files: each piece read from the journal, its hash checked, then written.

Nothing whose hash differs reaches the disk: such a file is removed again and named.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from engine.journal.data import DataReader
from engine.model.errors import BcsError, Damaged
from engine.model.events import Inode
from engine.model.extents import Piece
from engine.tree.apply import create_file, finish, set_size, write_extent
from engine.tree.attributes import Attributes


@dataclass(frozen=True, slots=True)
class FileTask:
    """One file to make at `target`, with its pieces in order of offset."""

    target: bytes
    inode: Inode
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Filled:
    """What became of one file: bytes written, what could not be set, or why it is not there. `damaged`: that was the
    journal's fault; else this machine's, such as a full disk."""

    target: bytes
    bytes_written: int
    shortfalls: tuple[str, ...] = ()
    failure: str = ""
    damaged: bool = False


def attributes_of(inode: Inode) -> Attributes:
    """An inode event's attributes as `engine.tree` takes them."""
    return Attributes(
        inode.type, inode.mode, inode.uid, inode.gid, inode.size, inode.mtime_ns, inode.rdev, inode.target, inode.xattrs
    )


def fill_all(tasks: Sequence[FileTask], reader: DataReader, stream: str, owners: bool) -> Iterator[Filled]:
    """Make each file; a failure is that file's alone, the others go on."""
    for task in tasks:
        yield fill(task, reader, stream, owners)


def fill(task: FileTask, reader: DataReader, stream: str, owners: bool) -> Filled:
    """Make one file whole: content, size, attributes. On damage the file is taken away again."""
    fd = -1
    written = 0
    try:
        fd = create_file(task.target)
        for piece in task.pieces:
            view = reader.read(piece, stream)
            write_extent(fd, piece.offset, view)
            written += len(view)
        set_size(fd, task.inode.size)
        missing = finish(task.target, attributes_of(task.inode), owners, fd)
        return Filled(task.target, written, tuple(str(shortfall) for shortfall in missing))
    except (BcsError, OSError) as error:
        if fd >= 0:
            _take_away(task.target)
        message = error.message if isinstance(error, BcsError) else f"{os.strerror(error.errno or 0)}"
        return Filled(task.target, 0, failure=message, damaged=isinstance(error, Damaged))
    finally:
        if fd >= 0:
            os.close(fd)


def _take_away(target: bytes) -> None:
    try:
        os.unlink(target)
    except FileNotFoundError:
        pass
