"""List a tree: every name below a root once, in a fixed order, with its lstat.

Nothing is followed: not a symlink, nor a directory that was exchanged for another one between
the look at it and the opening of it. What cannot be read is an item of the walk, not an
exception, so a walk always comes to its end.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from engine.model.events import DIRECTORY
from engine.tree.attributes import TYPES

_TYPE_BITS = 0o170000
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Entry:
    """One name of the tree. `type` is one of f d l p s c b; names of one inode have equal `inode`."""

    path: bytes
    type: str
    stat: os.stat_result

    @property
    def inode(self) -> tuple[int, int]:
        return self.stat.st_dev, self.stat.st_ino


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A name whose lstat failed, or a directory (yielded as Entry before) that could not be listed.

    ESTALE says that a directory was exchanged for another one while it was being opened.
    """

    path: bytes
    errno: int

    @property
    def vanished(self) -> bool:
        return self.errno in (errno.ENOENT, errno.ENOTDIR)


def walk(
    root: bytes, exclude: Callable[[bytes, bool], bool] | None = None, *, cross_mounts: bool = True
) -> Iterator[Entry | Unreadable]:
    """`root` itself, then everything below it: all names of a directory in byte order, then its subdirectories.

    Parents come before children. `exclude(path, is_directory)` leaves out a name and all below it; it is
    not asked about the root. With cross_mounts=False mount points are listed but not entered. Paths longer
    than PATH_MAX come as Unreadable(ENAMETOOLONG). One file descriptor is open at a time.
    """
    try:
        status = os.lstat(root)
    except OSError as error:
        yield Unreadable(root, error.errno or errno.EIO)
        return
    yield Entry(root, TYPES[status.st_mode & _TYPE_BITS], status)
    device = None if cross_mounts else status.st_dev
    # Directories yet to list; the last is next. (dev, ino) proves that what is opened is what was seen.
    pending = [(root, status.st_dev, status.st_ino)] if status.st_mode & _TYPE_BITS == 0o040000 else []
    while pending:
        path, *seen = pending.pop()
        below: list[tuple[bytes, int, int]] = []
        for item in _list(path, (seen[0], seen[1]), exclude):
            yield item
            if item.__class__ is Entry and item.type == DIRECTORY:
                status = item.stat
                if device is None or status.st_dev == device:
                    below.append((item.path, status.st_dev, status.st_ino))
        below.reverse()
        pending += below


def _list(
    path: bytes, seen: tuple[int, int], exclude: Callable[[bytes, bool], bool] | None
) -> Iterator[Entry | Unreadable]:
    """The names of one directory in byte order."""
    try:
        fd = os.open(path, _OPEN_DIRECTORY)
    except OSError as error:
        yield Unreadable(path, error.errno or errno.EIO)
        return
    try:
        status = os.fstat(fd)
        if (status.st_dev, status.st_ino) != seen:
            yield Unreadable(path, errno.ESTALE)
            return
        try:
            # Names only: a directory of a million entries must not cost a million stat results.
            names = sorted(map(os.fsencode, os.listdir(fd)))
        except OSError as error:
            yield Unreadable(path, error.errno or errno.EIO)
            return
        prefix = path if path.endswith(b"/") else path + b"/"
        for name in names:
            try:
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except OSError as error:
                if exclude is None or not exclude(prefix + name, False):
                    yield Unreadable(prefix + name, error.errno or errno.EIO)
                continue
            kind = TYPES[status.st_mode & _TYPE_BITS]
            if exclude is None or not exclude(prefix + name, kind == DIRECTORY):
                yield Entry(prefix + name, kind, status)
    finally:
        os.close(fd)
