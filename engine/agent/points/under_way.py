"""Whether a write may have been under way while files were looked at, though no event said so.

An event comes when a write ends. One that lasts longer than the nap before a look (much data, a disk that throttles
its writers, a source of bytes that is slow itself) is torn by the look, and the file's times are the same before and
after it. So a pass that heard nothing asks two more questions of each file that it looked at, before it calls its
point quiet:

- Is the file's ctime later than the last time the watcher was asked? Then something changed it since, and as no event
  has come of that, it is not over (or is of a kind that raises none: a store through mmap, chattr).
- Does lseek(SEEK_DATA) return at once? ext4, btrfs and tmpfs take the inode's lock for it, which a buffered write
  holds to its end; on xfs reading itself takes it. The kernel gives no way to only try: so a thread of its own asks,
  and one that is not back within `WAIT_SECONDS` has its answer. It need not be asked of a file that had not changed for
  a while before it was looked at, on the file systems of `LOCKING`: whoever asks for its holes and then reads has
  waited for a buffered write that was under way, and one that comes later gives the file another ctime.

Files of which this is so are not quiet, and are looked at again.

What a quiet point still can't prove:
- that nobody stored through a mapping of a file while it was read: the ctime tells of the first store after a
  writeback only. Files that are mapped shared and writable are found by `engine.agent.ranges`, where that runs;
- that no direct write (O_DIRECT) over existing bytes was under way that had begun before the watcher was last asked,
  and so soon after another change of the file that they bear the same time: it shares the lock with readers;
- on kernels that stamp times by the tick (before 6.13), that no write both began within the tick of the change before
  it, and was between the end of its work and its event at the very moment of the last drain;
- that no write had begun since the watcher was last asked, where the clock was set back in between;
- anything about network file systems and others that raise no events: they are never quiet (`Hints.blind`);
- that the files are of one mind: an application that is in the middle of a change of several files and pauses for
  longer than a pass looks quiet. Only its own word (`application`) says more.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Sequence

Where = tuple[int, bytes]
"""A name: the directory's file_id, and the name in it."""

LOCKING = frozenset({b"ext4", b"xfs", b"btrfs", b"tmpfs", b"f2fs"})
"""File systems, by their names in mountinfo, that hold the inode's lock for a buffered write and stamp its ctime before
its first byte; others copy without a lock (vfat, ext2), or stamp when the server has answered (FUSE)."""

WAIT_SECONDS = 0.05
WHOLE_BYTES = 4096
"""A file of one page is copied in one go."""
HELD_MAX = 256
"""Descriptors that are held at most until they are asked."""
WAITING_MAX = 8
"""Threads that may hang in files whose writers hang; with as many nothing is quiet."""

Number = tuple[int, int]
"""(st_dev, st_ino)."""


class UnderWay:
    """Gathers the files of a pass. One thread uses it."""

    def __init__(self) -> None:
        self._drained_ns = 0
        self._files: list[tuple[Where, int, Number]] = []
        self._found: set[Where] = set()
        self._waiting: dict[Number, threading.Thread] = {}

    def begin(self, drained_ns: int) -> None:
        """A look begins; the watcher was last asked at this wall time, nanoseconds."""
        self.drop()
        self._drained_ns = drained_ns

    def looked(self, where: Where, fd: int, before: os.stat_result, now_ns: int, waited: bool = False) -> None:
        """A regular file was looked at through `fd`, which stays the caller's; `before` is its status before that,
        `now_ns` the wall time. One that bears a time to come was changed before the clock was set back. `waited`: the
        look itself has waited for writes, so that the second question need not be asked."""
        if self._drained_ns < before.st_ctime_ns <= now_ns:
            self._found.add(where)
        elif before.st_size > WHOLE_BYTES and not waited:
            self._files.append((where, fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 0), (before.st_dev, before.st_ino)))
            if len(self._files) >= HELD_MAX:
                self._ask()

    def found(self) -> set[Where]:
        """The files of which it can't be said that nobody was writing to them. Takes up to WAIT_SECONDS."""
        self._ask()
        found, self._found = self._found, set()
        return found

    def drop(self) -> None:
        """The pass is not quiet anyway."""
        for _, fd, _ in self._files:
            os.close(fd)
        self._files, self._found = [], set()

    def _ask(self) -> None:
        files, self._files = self._files, []
        self._waiting = {number: thread for number, thread in self._waiting.items() if thread.is_alive()}
        asked = []
        for where, fd, number in files:
            if number in self._waiting or len(self._waiting) >= WAITING_MAX:
                os.close(fd)
                self._found.add(where)
            else:
                asked.append((where, fd, number))
        if not asked:
            return
        done: list[bool] = []
        descriptors = [fd for _, fd, _ in asked]
        thread = threading.Thread(target=_pass_by, args=(descriptors, done), name="writes under way", daemon=True)
        thread.start()
        thread.join(WAIT_SECONDS)
        passed = len(done)
        self._found.update(where for (where, _, _), held in zip(asked, done, strict=False) if held)
        if passed < len(asked):
            self._waiting[asked[passed][2]] = thread
            self._found.update(where for where, _, _ in asked[passed:])


def _pass_by(descriptors: Sequence[int], done: list[bool]) -> None:
    """Wait at each file until no write holds it; `done` grows with each. Closes the descriptors."""
    for fd in descriptors:
        try:
            os.lseek(fd, 0, os.SEEK_DATA)
            done.append(False)
        except OSError as error:
            # ENXIO: it is all hole, or empty by now; others: this can't be asked here.
            done.append(error.errno not in (errno.ENXIO, errno.EINVAL, errno.EOPNOTSUPP))
        finally:
            os.close(fd)
