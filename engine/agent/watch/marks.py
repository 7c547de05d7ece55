"""Where the marks of a fanotify group are put: on file systems, or on directories where those refuse."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import Any

from engine.agent.watch import btrfs
from engine.agent.watch import fanotify as fan
from engine.agent.watch.group import CONTENT, FanotifyGroup

FDINFO_BYTES = 64 << 10


class FilesystemWatcher(FanotifyGroup):
    """One mark on each file system that holds a registered directory. Sees bind mounts and other mount namespaces."""

    mechanism = "fanotify"

    def __init__(self, roots: Sequence[bytes] = (), **options: Any) -> None:
        super().__init__(roots, **options)
        self._marks_fd = os.open(f"/proc/self/fdinfo/{self._fd}", os.O_RDONLY | os.O_CLOEXEC)
        self._marked_mounts: dict[int, bytes] = {}
        self._marks = 0

    def _mark(self, fd: int, *, directory: bool) -> bytes:
        key, mount = fan.object_key(fd)
        if mount not in self._marked_mounts:
            self._marked_mounts[mount] = self._mark_filesystem(fd, key, mount)
            self._marks = self._count_marks()
        # Records carry the fsid of the place that was marked; a btrfs subvolume below it has one of its own.
        return self._marked_mounts[mount] + key[fan.FSID_SIZE :]

    def _mark_filesystem(self, fd: int, key: bytes, mount: int) -> bytes:
        """Mark the file system of the object behind `fd`; the fsid that its records will carry."""
        flags = fan.FAN_MARK_ADD | fan.FAN_MARK_FILESYSTEM
        try:
            fan.fanotify_mark(self._fd, flags, self._mask, fan.AT_FDCWD, _link(fd))
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
        else:
            return key[: fan.FSID_SIZE]
        with btrfs.top_of(mount) as top:
            fan.fanotify_mark(self._fd, flags, self._mask, fan.AT_FDCWD, _link(top))
            return fan.object_key(top)[0][: fan.FSID_SIZE]

    def _mounts_changed(self) -> bool:
        changed = self._mounts_moved_since() and self._mounts.ours_changed()
        if not changed and self._marks == self._count_marks():
            return False
        # A mark goes with the last unmount of its file system. The next add_directory marks what is there now.
        self._marked_mounts.clear()
        self._marks = self._count_marks()
        return True

    def _count_marks(self) -> int:
        """How many file systems the group holds marks on, by the kernel's own account (proc(5), fdinfo)."""
        told, at = b"", 0
        while part := os.pread(self._marks_fd, FDINFO_BYTES, at):
            told, at = told + part, at + len(part)
        return told.count(b"fanotify sdev:")

    def close(self) -> None:
        if self._marks_fd >= 0:
            os.close(self._marks_fd)
            self._marks_fd = -1
        super().close()


class DirectoryWatcher(FanotifyGroup):
    """One mark on each registered directory, where the file system refuses a mark on the whole of it."""

    mechanism = "fanotify-directories"
    costs = (
        "Every directory holds a kernel mark of about 1 KiB, and what is made in a new directory before it is marked "
        "is found only by scanning it. Writes through a hard link that is made outside of the source go unseen until "
        "its file is looked at again."
    )

    def _mark(self, fd: int, *, directory: bool) -> bytes:
        mask = self._mask | fan.FAN_EVENT_ON_CHILD if directory else CONTENT
        fan.fanotify_mark(self._fd, fan.FAN_MARK_ADD, mask, fan.AT_FDCWD, _link(fd))
        return fan.object_key(fd)[0]

    def _mounts_changed(self) -> bool:
        # A mount of the same file system in the old place may have the old number too, but has no marks.
        return self._mounts_moved_since() and (self._mounts.ours_changed() or self._marks_lost())

    def _marks_lost(self) -> bool:
        paths = list(self._paths.items())
        lost = [fsid for fsid, path in paths if not (self._has_mark(path) or self._has_any(fsid))]
        for fsid in lost:
            self._paths.pop(fsid, None)  # the next directory added takes its place
        return bool(lost)

    def _has_any(self, fsid: bytes) -> bool:
        """Whether the first directory of a file system that is still there carries our mark: the path at which it was
        marked may lead elsewhere by now, or nowhere. Where none is registered yet there is none to lose."""
        for key in (each for each in self._ids if each[: fan.FSID_SIZE] == fsid):
            try:
                fd = self._open(key)
            except OSError as error:
                if error.errno == errno.ESTALE:
                    continue  # it was removed
                return False
            try:
                if self._has_mark(_link(fd)):
                    return True
                if os.fstat(fd).st_nlink:
                    return False
            finally:
                os.close(fd)
        return True

    def _has_mark(self, path: bytes) -> bool:
        """Whether what is at `path` now carries our mark: taking away a bit that it hasn't fails only without one."""
        try:
            flags = fan.FAN_MARK_REMOVE | fan.FAN_MARK_ONLYDIR
            fan.fanotify_mark(self._fd, flags, fan.FAN_DELETE_SELF, fan.AT_FDCWD, path)
        except OSError:
            return False
        return True

    def _unmark(self, key: bytes) -> None:
        if key in self._ids or key in self._files:
            return
        try:
            fd = self._open(key)
        except OSError:
            return  # the mark went with its directory, or goes with the group; its records are dropped either way
        try:
            fan.fanotify_mark(
                self._fd, fan.FAN_MARK_REMOVE, self._mask | fan.FAN_EVENT_ON_CHILD, fan.AT_FDCWD, _link(fd)
            )
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
        finally:
            os.close(fd)


def _link(fd: int) -> bytes:
    """A path that leads to the object behind an O_PATH descriptor, for calls that take no such descriptor."""
    return b"/proc/self/fd/%d" % fd
