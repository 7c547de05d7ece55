"""Write the contents of files: each piece read from the journal, its hash checked, then written.

Nothing whose hash differs reaches the disk: such a file is removed again and named.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from engine.env.durable import start_write_back
from engine.journal.data import DataReader
from engine.model.errors import BcsError, Damaged
from engine.model.events import Inode
from engine.model.extents import Piece
from engine.tree.apply import create_file, finish, set_size, write_extent

WRITE_BACK_BYTES = 1 << 20
"""Smaller files are left to the sync at the end, which then finds places for many at once."""

_EXISTING = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class FileTask:
    """One file to make at `target`, with its pieces in order of offset.

    With `part` the file is there already, and these are some of its pieces: several may fill it at once. With `mend`
    it was begun before: what it holds of them already is not written again.
    """

    target: bytes
    inode: Inode
    pieces: tuple[Piece, ...]
    part: bool = False
    mend: bool = False

    @property
    def size(self) -> int:
        """What there is to do, in bytes."""
        return sum(piece.length for piece in self.pieces) if self.part else self.inode.size


@dataclass(frozen=True, slots=True)
class Filled:
    """What became of one file: bytes written, what could not be set, or why it is not there. `damaged`: that was the
    journal's fault; else this machine's, such as a full disk. `part`: there is more of it to come."""

    target: bytes
    bytes_written: int
    shortfalls: tuple[str, ...] = ()
    failure: str = ""
    damaged: bool = False
    part: bool = False


def fill_all(tasks: Sequence[FileTask], reader: DataReader, stream: str, owners: bool) -> Iterator[Filled]:
    """Make each file; a failure is that file's alone, the others go on."""
    for task in tasks:
        yield fill(task, reader, stream, owners)


def fill(task: FileTask, reader: DataReader, stream: str, owners: bool) -> Filled:
    """Make one file whole: content, size, attributes; or fill its part. On damage a whole file is taken away again."""
    fd = -1
    written = 0
    try:
        fd = os.open(task.target, _EXISTING) if task.part else create_file(task.target, _mode(task.inode))
        for piece in task.pieces:
            if task.mend and holds(fd, piece, reader, stream):
                continue
            view = reader.read_once(piece, stream)
            write_extent(fd, piece.offset, view)
            written += len(view)
        if written >= WRITE_BACK_BYTES:
            # The disk takes it while the next is opened and hashed; the sync at the end has less to wait for.
            begin = task.pieces[0].offset
            start_write_back(fd, begin, task.pieces[-1].offset + task.pieces[-1].length - begin)
        if task.part:
            return Filled(task.target, written, part=True)
        last = task.pieces[-1] if task.pieces else None
        if (last.offset + last.length if last else 0) != task.inode.size:
            set_size(fd, task.inode.size)  # it ends in a hole
        missing = finish(task.target, task.inode, owners, fd)
        return Filled(task.target, written, tuple(map(str, missing)))
    except (BcsError, OSError) as error:
        if fd >= 0 and not task.part:
            take_away(task.target)
        message = error.message if isinstance(error, BcsError) else f"{os.strerror(error.errno or 0)}"
        return Filled(task.target, 0, failure=message, damaged=isinstance(error, Damaged), part=task.part)
    finally:
        if fd >= 0:
            os.close(fd)


def _mode(inode: Inode) -> int:
    """The mode to make a file with: where nothing else keeps others out its own, which then need not change."""
    ours = (inode.uid, inode.gid) == (os.geteuid(), os.getegid())
    return inode.mode & 0o777 | 0o600 if ours and not inode.xattrs else 0o600


def holds(fd: int, piece: Piece, reader: DataReader, stream: str) -> bool:
    """Whether an open file holds the bytes of a piece, by their hash. Raises OSError; Damaged where only the journal's
    own bytes can tell, and they are damaged."""
    return reader.matches(os.pread(fd, piece.length, piece.offset), piece, stream)


def take_away(target: bytes) -> None:
    """Remove a file that could not be made whole: nobody must take it for what was protected."""
    try:
        os.unlink(target)
    except FileNotFoundError:
        pass
