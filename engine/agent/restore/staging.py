"""The directory inside a target in which a restore is made whole before it takes its places. Only we can look in."""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from engine.agent.restore.landing import Before
from engine.tree.scratch.place import remove

PREFIX = ".bcs-restore-"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def make(real: bytes, target: int, name: str) -> Before:
    """Make it in the target, of which `target` is a descriptor and `real` the name; or take what an earlier run has
    made. FileExistsError when that name is somebody else's."""
    called = PREFIX + name
    try:
        os.mkdir(called, 0o700, dir_fd=target)
    except FileExistsError:
        if not _is_ours(os.stat(called, dir_fd=target, follow_symlinks=False)):
            raise
    status = os.stat(called, dir_fd=target, follow_symlinks=False)
    whole = os.path.join(os.fsdecode(real), called)
    # It is never given the attributes of what is restored: so nobody looks in until it is gone.
    return Before(False, status.st_uid, status.st_gid, 0o700, whole, status.st_ino)


def _is_ours(status: os.stat_result) -> bool:
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o077


def is_one(before: Before, name: str) -> bool:
    """Whether a restore of that name was begun in such a directory."""
    return os.path.basename(before.real) == PREFIX + name


def clear(before: Before) -> None:
    """Remove it with all that is in it. Nothing happens when something else bears its name by now. Raises OSError."""
    path = os.fsencode(before.real)
    with suppress(FileNotFoundError, NotADirectoryError):
        above = os.open(os.path.dirname(path), _DIRECTORY)
        try:
            fd = os.open(os.path.basename(path), _DIRECTORY, dir_fd=above)
            try:
                if os.fstat(fd).st_ino != before.inode:
                    return
                for name in os.listdir(b"/proc/self/fd/%d" % fd):
                    remove(b"/proc/self/fd/%d/%b" % (fd, name))
            finally:
                os.close(fd)
            os.rmdir(os.path.basename(path), dir_fd=above)
        finally:
            os.close(above)
