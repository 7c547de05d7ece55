"""What a watcher is: directories go in under the caller's numbers, dirty names come out.

A watcher says where to look, never what happened: the kernel merges and reorders its records, so nothing here tells a
write from a rename. It refuses to read files or to remember the tree.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from engine.model.errors import Failed


class WatchRefused(Failed):
    """The kernel won't watch this directory in this way; `details["mechanism"]` names the way.

    The caller closes the watcher, opens `choose.open_watcher(paths, weaker_than=mechanism)` and scans everything again.
    """

    code = "watch-refused"


@dataclass(slots=True)
class Drained:
    """What one `drain` found.

    dirty       (directory_id, name): look at this name again; it may be gone, new, changed, or as before.
    self_dirty  directory_ids whose own attributes (mode, owner, times, xattrs) may have changed.
    inodes      (st_dev, st_ino) of files that changed while the kernel knew no name for them: a file made with
                O_TMPFILE and written to after linkat(2), a file opened by its handle by an NFS server. Look them up
                by inode among the files already known; an unknown one is not in the tree.
    overflowed  records may have been lost, or a mount came or went: add and scan every directory again.
    remounted   a mount came or went; `overflowed` too.
    """

    dirty: set[tuple[int, bytes]] = field(default_factory=set)
    self_dirty: set[int] = field(default_factory=set)
    inodes: set[tuple[int, int]] = field(default_factory=set)
    overflowed: bool = False
    remounted: bool = False

    def __bool__(self) -> bool:
        return bool(self.dirty or self.self_dirty or self.inodes or self.overflowed)


class Watcher(Protocol):
    """Hints about changes in registered directories.

    Order of use: `add_directory`, then scan that directory, then `drain` for ever. What changed before the add is found
    by the scan, what changes later comes out of a drain. A new directory shows as a dirty name in its parent; what was
    made inside it before it was added is found only by the scan that follows the add.

    Not seen by any mechanism: stores through mmap(2) and msync(2). They show when the last mapping and descriptor of
    the file are closed (CLOSE_WRITE), so whoever must know sooner has to look at files held open for writing. Changes
    of chattr(1) flags are not seen, nor what other clients of a network file system do.

    A write names the file by the name it was opened with. A file with several links is therefore to be registered with
    `add_file`, else a write through a name outside of the registered directories goes unseen.

    One thread uses a watcher at a time.
    """

    @property
    def mechanism(self) -> str:
        """'fanotify', 'fanotify-directories', 'inotify' or 'scan'."""
        ...

    costs: str
    """What this mechanism costs or can't see, and why there is no better one; '' when there is nothing to say."""

    def add_directory(self, directory_id: int, path: bytes) -> None:
        """Report changes in the directory at `path` (not its subdirectories) under this number, before it is scanned.

        Idempotent; the same number with another directory replaces the old one. The directory stays registered when it
        is renamed. FileNotFoundError when it has vanished or is no directory (a symbolic link isn't followed);
        WatchRefused when this mechanism can't watch it.
        """
        ...

    def remove_directory(self, directory_id: int) -> None:
        """Stop reporting it. An unknown number is fine."""
        ...

    def add_file(self, directory_id: int, name: bytes, path: bytes) -> None:
        """Report changes of the file at `path`, made through whichever of its links, as (directory_id, name) too.

        Idempotent. Errors as for `add_directory`. Ends with `remove_file`, or when the directory is removed.
        """
        ...

    def remove_file(self, directory_id: int, name: bytes) -> None:
        """Stop what `add_file` began. An unknown name is fine."""
        ...

    def wait(self, timeout_seconds: float) -> bool:
        """True as soon as something is pending, False when the time is over."""
        ...

    def drain(self) -> Drained:
        """Everything that was pending when it was called. Never blocks.

        A change whose system call returned before this call is in this answer or in an earlier one.
        """
        ...

    def fileno(self) -> int:
        """A descriptor that polls readable when records are pending. Mounts, and scans that are due, show in `wait`."""
        ...

    def close(self) -> None:
        """Release everything. A second close is fine."""
        ...
