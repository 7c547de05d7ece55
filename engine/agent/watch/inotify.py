"""Watching through inotify: one watch a directory, no privilege needed.

Source: inotify(7). A watch holds the inode, so it survives renames; it ends when the inode goes or is unmounted.
"""

from __future__ import annotations

import errno
import math
import os
import select
from collections.abc import Sequence

from inotify_simple import INotify, flags

from engine.agent.watch.base import Drained, WatchRefused
from engine.agent.watch.mounts import MountTable

_CONTENT = flags.MODIFY | flags.CLOSE_WRITE | flags.ATTRIB
_MASK = _CONTENT | flags.CREATE | flags.DELETE | flags.MOVED_FROM | flags.MOVED_TO | flags.ONLYDIR | flags.DONT_FOLLOW
_HINTS = {
    errno.ENOSPC: "raise the sysctl fs.inotify.max_user_watches",
    errno.EMFILE: "raise the sysctl fs.inotify.max_user_instances",
}


class InotifyWatcher:
    """A watch on each registered directory, and on each registered file with several links."""

    mechanism = "inotify"
    costs = (
        "Every directory takes one of fs.inotify.max_user_watches, and more than fs.inotify.max_queued_events changes "
        "at once mean that everything is scanned again. Writes through a hard link that is made outside of the source "
        "go unseen until its file is looked at again."
    )

    def __init__(self, roots: Sequence[bytes] = ()) -> None:
        """`roots` are the trees whose mounts matter. WatchRefused when the user has too many instances."""
        try:
            self._inotify = INotify(nonblocking=True)
        except OSError as error:
            raise self._refused("inotify_init1", error) from error
        self._mounts = MountTable(roots)
        self._poll = select.poll()
        self._poll.register(self._inotify.fileno(), select.POLLIN)
        if self._mounts.fileno() >= 0:
            self._poll.register(self._mounts.fileno(), select.POLLPRI)
        self._mounts_moved = False
        # A watch has one descriptor however often it is added, and reports to everyone who added it.
        self._directories: dict[int, set[int]] = {}
        self._files: dict[int, set[tuple[int, bytes]]] = {}
        self._devices: dict[int, int] = {}
        self._watches: dict[int, int] = {}
        self._file_watches: dict[int, dict[bytes, int]] = {}

    def _refused(self, what: str, error: OSError) -> WatchRefused:
        hint = _HINTS.get(error.errno or 0, "a weaker mechanism will do")
        message = f"{self.mechanism}: {what}: {os.strerror(error.errno or 0)}"
        return WatchRefused(message, hint=hint, details={"mechanism": self.mechanism, "errno": error.errno})

    def _watch(self, path: bytes, mask: int) -> int:
        try:
            return int(self._inotify.add_watch(path, mask))
        except OSError as error:
            if error.errno in _HINTS:
                raise self._refused(os.fsdecode(path), error) from error
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from error
            raise

    def add_directory(self, directory_id: int, path: bytes) -> None:
        watch = self._watch(path, _MASK)
        if self._watches.get(directory_id) not in (None, watch):
            self.remove_directory(directory_id)
        self._watches[directory_id] = watch
        self._directories.setdefault(watch, set()).add(directory_id)
        try:
            self._devices[watch] = os.lstat(path).st_dev
        except FileNotFoundError:
            self.remove_directory(directory_id)
            raise

    def remove_directory(self, directory_id: int) -> None:
        for name in list(self._file_watches.get(directory_id, ())):
            self.remove_file(directory_id, name)
        watch = self._watches.pop(directory_id, None)
        if watch is not None:
            self._directories.get(watch, set()).discard(directory_id)
            self._end_unused(watch)

    def add_file(self, directory_id: int, name: bytes, path: bytes) -> None:
        watch = self._watch(path, _CONTENT | flags.DONT_FOLLOW)
        if self._file_watches.get(directory_id, {}).get(name) not in (None, watch):
            self.remove_file(directory_id, name)
        self._file_watches.setdefault(directory_id, {})[name] = watch
        self._files.setdefault(watch, set()).add((directory_id, name))

    def remove_file(self, directory_id: int, name: bytes) -> None:
        names = self._file_watches.get(directory_id, {})
        watch = names.pop(name, None)
        if not names:
            self._file_watches.pop(directory_id, None)
        if watch is not None:
            self._files.get(watch, set()).discard((directory_id, name))
            self._end_unused(watch)

    def _end_unused(self, watch: int) -> None:
        if self._directories.get(watch) or self._files.get(watch):
            return
        if self._forget(watch):
            try:
                self._inotify.rm_watch(watch)
            except OSError as error:
                if error.errno != errno.EINVAL:  # the kernel has ended it already; IN_IGNORED is on its way
                    raise

    def _forget(self, watch: int) -> bool:
        known = [self._directories.pop(watch, None), self._files.pop(watch, None)]
        self._devices.pop(watch, None)
        return any(entry is not None for entry in known)

    def wait(self, timeout_seconds: float) -> bool:
        for fd, _ in (ready := self._poll.poll(max(0, math.ceil(timeout_seconds * 1000)))):
            # Polling the mount table takes its signal away, so it is kept for the drain.
            self._mounts_moved = self._mounts_moved or fd != self._inotify.fileno()
        return bool(ready)

    def drain(self) -> Drained:
        moved = self._mounts.any_changed() or self._mounts_moved
        self._mounts_moved = False
        moved = moved and self._mounts.ours_changed()
        found = Drained(overflowed=moved, remounted=moved)
        for watch, mask, _, text in self._inotify.read(timeout=0):
            if mask & (flags.Q_OVERFLOW | flags.UNMOUNT):
                found.overflowed = True
            if mask & flags.IGNORED:
                self._forget(watch)
                continue
            found.dirty.update(self._files.get(watch, ()))
            name = os.fsencode(text)
            for directory_id in self._directories.get(watch, ()):
                if name:
                    found.dirty.add((directory_id, name))
                else:
                    found.self_dirty.add(directory_id)
            if name.startswith(b"#") and name[1:].isdigit() and watch in self._devices:
                # The kernel's own name for a file made with O_TMPFILE: the number of its inode.
                found.inodes.add((self._devices[watch], int(name[1:])))
        return found

    def fileno(self) -> int:
        return int(self._inotify.fileno())

    def close(self) -> None:
        self._inotify.close()
        self._mounts.close()
