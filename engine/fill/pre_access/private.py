"""A private way to the files of a tree: a detached mount of it, which nobody else sees and no cover lies on.

Files are found by handle, whatever their names are by now, and a read-only bind mount through which a reader came, or
a cover over the tree, is of no matter. What is opened here raises no event for anybody: not for our own group, which
would then wait for itself, and not for capture's, which would take a fill for a change. The kernel gives such
descriptors (FMODE_NONOTIFY) only with an event, so each file is opened twice: once plainly, for the event of that
opening (which a group of our own gets, for this mount alone), and once by the kernel for that event.

Sources: open_by_handle_at(2), fanotify(7).
"""

from __future__ import annotations

import os
import threading

from engine.fill.pre_access import fanotify
from engine.fill.pre_access.fanotify import EVENT_BYTES, event_of
from engine.fill.tree.handles import open_handle


class Private:
    """The way to the tree on `mount_fd` (engine.fill.tree.cover.beneath), which it takes over. For many threads."""

    def __init__(self, mount_fd: int) -> None:
        try:
            self._mount = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=mount_fd)
        finally:
            os.close(mount_fd)
        flags = fanotify.FAN_CLASS_NOTIF | fanotify.FAN_CLOEXEC | fanotify.FAN_NONBLOCK
        self._openings = fanotify.fanotify_init(flags, os.O_RDWR | os.O_CLOEXEC | fanotify.O_LARGEFILE | os.O_NOATIME)
        add = fanotify.FAN_MARK_ADD | fanotify.FAN_MARK_MOUNT
        fanotify.fanotify_mark(self._openings, add, fanotify.FAN_OPEN, b"/proc/self/fd/%d" % self._mount)
        self._lock = threading.Lock()

    def open(self, handle: bytes) -> int:
        """A descriptor for reading and writing that raises no events. OSError ESTALE when the file is gone."""
        with self._lock:
            plain = open_handle(self._mount, handle, os.O_RDONLY | os.O_NOATIME)
            try:
                event = event_of(os.read(self._openings, EVENT_BYTES))
            finally:
                os.close(plain)
        assert event is not None
        if event.fd < 0:
            raise OSError(-event.fd, os.strerror(-event.fd))
        return event.fd

    def path(self, handle: bytes) -> tuple[int, bytes]:
        """An O_PATH descriptor, which the caller closes, and a path for system calls that is good as long as it is."""
        fd = open_handle(self._mount, handle, os.O_PATH)
        return fd, b"/proc/self/fd/%d" % fd

    def close(self) -> None:
        os.close(self._openings)
        os.close(self._mount)
