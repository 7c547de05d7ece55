"""Walking directories: the baseline, what changed while nobody watched, and directories that have just appeared.

They are one thing: each directory is registered with the watcher, then listed, then compared with the record. With an
empty record everything is new, and that is the baseline; it can be interrupted anywhere and goes on from the record.
"""

from __future__ import annotations

import os
import stat as st
import sys
from collections.abc import Iterable, Iterator

from engine.agent.capture.inodes import open_file, settled_ctime, unchanged
from engine.agent.capture.look import GONE, Capture
from engine.agent.capture.places import Moved, join
from engine.agent.kept.record import Entry, Known, number_of
from engine.agent.points.under_way import LOCKING
from engine.agent.ranges.base import SMALL_BYTES
from engine.agent.watch.mounts import filesystem_type, mount_table
from engine.model.events import ROOT_ID
from engine.tree.attributes import read_xattrs

HELD_MAX = 50_000
"""The record's names of larger directories are not held in memory, but looked up one by one."""

_STICKY = st.S_ISVTX
_ENCODING = sys.getfilesystemencoding()


class Walk:
    """Compares directories with the record, through a Capture."""

    def __init__(self, capture: Capture) -> None:
        self._capture = capture
        self.files = 0
        self.watched_stems: dict[int, frozenset[bytes]] = {}
        self._fresh = False
        self._scanned: set[int] = set()
        self._locking: dict[int, bool] = {}  # by st_dev, whether writes hold a lock there (LOCKING)

    def everything(self) -> None:
        """The whole source, from `/` down. At the end names that have gone are unlinked."""
        capture = self._capture
        self.ensure_root()
        self._follow_devices()
        self._fresh = capture.record.inodes() <= 1
        self._scanned, self._locking = set(), {}
        self.directories([ROOT_ID], deep=True)
        capture.finish()
        self._fresh = False

    def ensure_root(self) -> None:
        """`/` itself, which has no name anywhere."""
        capture = self._capture
        status = os.stat(b"/")
        known = capture.record.inode(ROOT_ID)
        if known is None:
            capture.inodes.described(status, b"", read_xattrs(b"/"), None, capture.wall_now_ns(), ROOT_ID)

    def _follow_devices(self) -> None:
        """A file system may come back under another device number after a restart: its inodes are the same ones."""
        capture = self._capture
        if capture.inodes.cold is not None:
            capture.inodes.cold.follow_mount()
        for root in sorted(capture.unmounted.points, key=len):
            directory = self._directory_at(root)
            known = capture.record.inode(directory) if directory is not None else None
            try:
                dev, ino = number_of(os.stat(capture.scope.real(root)))
            except OSError:
                continue
            if known is not None and known.ino == ino and known.dev != dev:
                capture.record.renumber_device(known.dev, dev)

    def stems(self) -> None:
        """The directories above the source's paths, which may not be watched: do the paths lead where they did?"""
        capture = self._capture
        for path in sorted(capture.scope.stems, key=len):
            directory = self._directory_at(path)
            if directory is not None and not capture.unmounted.covers(path):
                capture.look_in_stem(directory, path, capture.scope.stems[path], event=False)

    def directories(self, found: Iterable[int], *, deep: bool = False) -> None:
        """Scan directories; those in them too that are new or have changed, with `deep` all.

        And those that were not scanned yet since everything was last to be: a directory may move, while that goes on,
        from where it was still to come to where it was over.
        """
        capture = self._capture
        stack = list(found)
        while stack:
            directory = stack.pop()
            path = capture.places.path(directory)
            if path is None or path in capture.scope.hollow or capture.unmounted.covers(path):
                continue
            wanted = capture.scope.names(path)
            if wanted is None:
                stack += self._scan(directory, path, deep)
            else:
                stack += self._scan_stem(directory, path, wanted, deep)
            if capture.to_scan:
                known = set(stack)
                stack += [each for each in capture.to_scan if each not in known]
                capture.to_scan = []

    def _directory_at(self, path: bytes) -> int | None:
        at = ROOT_ID
        for name in path.split(b"/")[1:] if path != b"/" else ():
            row = self._capture.record.name(at, name)
            if not isinstance(row, Known):
                return None
            at = row.file_id
        return at

    def _scan_stem(self, directory: int, path: bytes, wanted: frozenset[bytes], deep: bool) -> list[int]:
        capture = self._capture
        if self._worth_watching(path, wanted):
            self.watched_stems[directory] = wanted
            try:
                capture.watcher.add_directory(directory, capture.scope.real(path))
            except FileNotFoundError:
                return []
        capture.look_in_stem(directory, path, wanted, event=False)
        rows = [capture.record.name(directory, name) for name in wanted]
        known = [row.file_id for row in rows if isinstance(row, Known) and row.mode >> 12 == 4]
        known = [each for each in known if deep or each not in self._scanned]
        capture.to_scan = [each for each in capture.to_scan if each not in known]
        return known

    def _worth_watching(self, path: bytes, wanted: frozenset[bytes]) -> bool:
        """Only the parents of the source's paths; not one such as /tmp, where strangers come and go all the time.

        What happens there shows within a second, when the stems are looked at.
        """
        roots = [join(path, name) for name in wanted if join(path, name) in self._capture.scope.roots]
        if not roots:
            return False
        try:
            busy = os.stat(self._capture.scope.real(path)).st_mode & _STICKY
            return not busy or any(not os.path.isdir(root) for root in roots)
        except OSError:
            return True

    def _scan(self, directory: int, path: bytes, deep: bool) -> list[int]:
        """One directory; the directories in it that are to be scanned because of `deep`."""
        capture = self._capture
        real = capture.scope.real(path)
        try:
            capture.watcher.add_directory(directory, real)
            self._scanned.add(directory)
            fd, status, known = capture.places.opened(directory)
        except (Moved, FileNotFoundError):
            capture.pending.missed(capture.record.places_of(directory))
            return []
        except OSError as error:
            capture.unreadable.missed((directory, b""), path, error)
            return []
        try:
            if not unchanged(known, status):
                capture.inodes.described(status, b"", read_xattrs(fd), known, capture.wall_now_ns())
            capture.inodes.writes.protect(status.st_dev, fd)
            if self._fresh and status.st_dev not in self._locking:
                self._locking[status.st_dev] = filesystem_type(real, mount_table()) in LOCKING
            return self._compare(directory, path, fd, deep)
        except OSError as error:
            if error.errno in GONE:
                capture.pending.missed(capture.record.places_of(directory))
            else:
                capture.unreadable.missed((directory, b""), path, error)
            return []
        finally:
            os.close(fd)

    def _compare(self, directory: int, path: bytes, fd: int, deep: bool) -> list[int]:
        capture = self._capture
        rows = capture.record.names_in(directory, HELD_MAX)
        below: list[int] = []
        scope, number = capture.scope, 0
        with os.scandir(fd) as entries:
            for entry in entries:
                number += 1
                if not number & 15:
                    capture.outbox.breathe()
                name = entry.name.encode(_ENCODING, "surrogateescape")
                if not scope.excludes_nothing and scope.excluded(join(path, name), entry.is_dir(follow_symlinks=False)):
                    continue
                row = rows.pop(name, None) if rows is not None else capture.record.entry(directory, name)
                if row is not None and _as_before(row, entry):
                    if entry.is_dir(follow_symlinks=False):
                        if deep or row[1] not in self._scanned:
                            below.append(row[1])
                    else:
                        self.files += 1
                        if row[4] is not None and row[4] > SMALL_BYTES:
                            capture.inodes.writes.settled(row[7] or 0, row[6] or 0, row[4])
                    continue
                if row is None and self._fresh and entry.is_file(follow_symlinks=False):
                    self._new_file(directory, path, name, fd)
                else:
                    self.files += 1
                    capture.look_at(directory, path, name, fd, event=False)
                # After every file: sixteen of four MiB each are more than a batch may hold.
                capture.outbox.close_if_full()
        capture.gone += [(directory, name) for name in (rows if rows is not None else self._missing(directory, fd))]
        # Its attributes were read before it was listed; what comes later shows as an event.
        capture.touched.discard(directory)
        capture.unreadable.read((directory, b""))
        if deep:
            new = set(capture.to_scan)
            capture.to_scan = []
            below += new
        return below

    def _missing(self, directory: int, fd: int) -> Iterator[bytes]:
        """The names of a large directory that the record has and the disk has not, or that are excluded now."""
        capture = self._capture
        path = capture.places.path(directory) or b"/"
        for name in capture.record.each_name(directory):
            try:
                is_directory = st.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode)
            except OSError as error:
                if error.errno in GONE:
                    yield name
                continue  # one that can't be looked at was said to be unreadable when it was met
            if capture.scope.excluded(join(path, name), is_directory):
                yield name

    def _new_file(self, directory: int, path: bytes, name: bytes, fd: int) -> None:
        """A regular file of a baseline: nothing is known, so there is nothing to ask the record."""
        capture = self._capture
        self.files += 1
        wall_ns = capture.wall_now_ns()
        try:
            file = open_file(name, fd)
        except OSError:
            capture.look_at(directory, path, name, fd, event=False)  # says properly what is wrong with it
            return
        try:
            status = os.fstat(file)
            if status.st_nlink > 1 or not st.S_ISREG(status.st_mode):
                capture.look_at(directory, path, name, fd, event=False)
                return
            file_id, still = capture.inodes.regular(file, status, None, wall_ns)
            waited = settled_ctime(status, wall_ns) >= 0 and self._locking.get(status.st_dev, False)
            capture.under_way.looked((directory, name), file, status, capture.wall_now_ns(), waited)
            lsn = capture.outbox.builder.dentry(0, directory, name, file_id)
            capture.record.put_name(directory, name, file_id, lsn)
            if not still:
                capture.pending.again.add((directory, name))
        except OSError as error:
            capture.unreadable.missed((directory, name), join(path, name), error)
        finally:
            os.close(file)


def _as_before(row: Entry, entry: os.DirEntry[str]) -> bool:
    """Whether nothing of an entry has changed by its numbers and times, as `unchanged` has it: a look decides then."""
    try:
        s = entry.stat(follow_symlinks=False)
    except OSError:
        return False
    if s.st_nlink > 1 and st.S_ISREG(s.st_mode):
        return False  # it is to be watched through all of its names, which a look sees to
    if row[2:] == (s.st_ctime_ns, s.st_mtime_ns, s.st_size, s.st_mode, s.st_ino, s.st_dev):
        return True
    same = row[2:6] == (s.st_ctime_ns, s.st_mtime_ns, s.st_size, s.st_mode)
    return same and (row[7], row[6]) == number_of(s)  # numbers too large for the record as they are
