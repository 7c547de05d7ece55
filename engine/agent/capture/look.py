"""Looking: what is at a name on disk, compared with the record, becomes events.

A pass looks at the names that events pointed to: those that are there first, so that a rename is found before the old
name is missed, then those that have gone, then the directories in which something changed. Events are hints; nothing
is believed but the look. It refuses to interpret: a driver's scope says what belongs to the source.
"""

from __future__ import annotations

import errno
import os
import stat as st
from collections.abc import Callable, Iterable

from engine.agent.capture.inodes import Inodes, open_file, unchanged
from engine.agent.capture.links import Links
from engine.agent.capture.outbox import Outbox
from engine.agent.capture.pending import Pending, Where
from engine.agent.capture.places import Moved, Places, join
from engine.agent.capture.unmounted import Unmounted
from engine.agent.capture.unreadable import Unreadable
from engine.agent.kept.record import Known, Record, number_of
from engine.agent.points.under_way import UnderWay
from engine.agent.recovered.guests import AGAIN_SECONDS as GUESTS_SECONDS
from engine.agent.recovered.guests import Guests
from engine.agent.watch.base import Watcher
from engine.drivers.files import Scope
from engine.env.clock import Clock
from engine.env.crash import crash
from engine.model.events import ROOT_ID
from engine.tree.attributes import read_xattrs

GONE = (errno.ENOENT, errno.ENOTDIR)
LIMBO_SECONDS = 1.0
"""How long an inode without a name is remembered: the other half of its rename may still come."""


class Capture:
    """Looks at names and directories of one source. One thread uses it."""

    def __init__(
        self, scope: Scope, record: Record, outbox: Outbox, watcher: Watcher, clock: Clock, places: Places
    ) -> None:
        self.scope, self.record, self.outbox, self.watcher, self.places = scope, record, outbox, watcher, places
        self._clock = clock
        self.inodes = Inodes(record, outbox)
        self.unmounted = Unmounted(record, scope)
        self.pending = Pending()
        self.under_way = UnderWay()
        self.unreadable = Unreadable(record, places, outbox)
        self.guests: Guests | None = None
        self.scan: Callable[[Iterable[int]], None]
        self.to_scan: list[int] = []
        self.gone: list[Where] = []
        self.touched: set[int] = set()
        self._moved: set[Where] = set()
        self.registered = False
        """Whether a look found directories or links to watch. What was in them before says no event."""
        self._limbo: dict[int, float] = {}
        self.links = Links(watcher)
        self.wall_ns = 0

    def wall_now_ns(self) -> int:
        """Wall time as the kernel stamps files with."""
        return self._clock.now() * 1000

    def look(self, dirty: Iterable[Where], directories: Iterable[int]) -> None:
        """Look at names, and at the attributes of directories."""
        if self.inodes.cold is not None:
            self.inodes.cold.follow_mount()
        by_directory: dict[int, list[bytes]] = {}
        for directory, name in dirty:
            by_directory.setdefault(directory, []).append(name)
        self.touched.update(directories)
        paths = {each: self.places.path(each) for each in by_directory}
        # Those on their way elsewhere come last: their new place may be found among the others.
        for directory in sorted(by_directory, key=lambda each: (paths[each] is None, len(paths[each] or b""), each)):
            self._look_in(directory, by_directory[directory])
        self.finish()

    def finish(self) -> None:
        """Scan the directories that appeared, unlink what has gone, bring directories up to date; and look once more
        at the names of those that had gone by then, so that no point shows them as they were before."""
        self._finish()
        moved, self._moved = self._moved, set()
        if moved:
            for directory, name in moved:
                self._look_in(directory, [name])
            self._finish()
            self._moved = set()  # they are looked at again in the next pass anyway

    def _finish(self) -> None:
        scanned = bool(self.to_scan)
        while self.to_scan:
            self.registered = True
            found, self.to_scan = self.to_scan, []
            self.scan(found)
        # Parents first: what is below a name that has gone needs no events of its own.
        self.gone.sort(key=lambda where: len(self.places.path(where[0]) or b""))
        for directory, name in self.gone:
            if scanned and self._is_back(directory, name):
                self.pending.missed([(directory, name)])
            else:
                self._vanished(directory, name)
            self.outbox.close_if_full()
        self.gone = []
        for directory in sorted(self.touched):
            self._refresh(directory)
        self.touched = set()

    def _look_in(self, directory: int, names: list[bytes]) -> None:
        path = self.places.path(directory)
        if path is None:
            if self.record.inode(directory) is not None:
                self.pending.held.update((directory, name) for name in names)
            return
        if self.unmounted.held and self.unmounted.covers(path):
            return
        wanted = self.scope.names(path)
        if wanted is not None:
            self.look_in_stem(directory, path, wanted.intersection(names), event=True)
            return
        fd = self._opened(directory, path, names)
        if fd is None:
            return
        try:
            for number, name in enumerate(names):
                self.look_at(directory, path, name, fd, event=True)
                self.outbox.close_if_full()
                if number & 15 == 15:
                    self.outbox.breathe()
        finally:
            os.close(fd)
        # Even a name that leads where it did may have been made anew: then only the directory's times tell.
        self.touched.add(directory)

    def _opened(self, directory: int, path: bytes, names: Iterable[bytes] = ()) -> int | None:
        """A descriptor of a directory in which `names` are to be looked at; None, and noted, if it can't be had."""
        try:
            return self.places.open(directory)
        except Moved:
            self.places.clear()
            self.pending.missed((directory, name) for name in names)
            self.pending.missed(self.record.places_of(directory))
        except OSError as error:
            self.unreadable.missed((directory, b""), path, error)
        return None

    def look_in_stem(self, directory: int, path: bytes, names: Iterable[bytes], *, event: bool) -> None:
        """Look at names in a directory above the source's paths: links are followed there."""
        for name in names:
            self.look_at(directory, path, name, None, event=event)

    def look_at(self, directory: int, path: bytes, name: bytes, fd: int | None, *, event: bool) -> None:
        """Look at one name. `path` is the directory's, `fd` its descriptor or None in a stem.

        `event`: something happened here, so equal times prove nothing.
        """
        full = join(path, name)
        where = (directory, name)
        if full in self.unmounted.points and self.unmounted.holds(where, full):
            return
        at = name if fd is not None else self.scope.real(full)
        self.wall_ns = self.wall_now_ns()
        try:
            status = os.stat(at, dir_fd=fd, follow_symlinks=False)
            if self.scope.excluded(full, st.S_ISDIR(status.st_mode)):
                self.gone.append(where)
                return
            row = self.record.name(directory, name)
            known = row if isinstance(row, Known) else None
            if not event and known is not None and unchanged(known, status):
                if status.st_nlink == 1 or where in self.links or not st.S_ISREG(status.st_mode):
                    return
                self._watch_links(where, at, fd, status)
                status = os.stat(at, dir_fd=fd, follow_symlinks=False)
                if unchanged(known, status):
                    return
            if st.S_ISREG(status.st_mode):
                self._regular(where, at, fd, known, status)
            else:
                self._other(where, full, at, fd, known, status, event=event)
        except OSError as error:
            if error.errno in GONE:
                self.gone.append(where)
            else:
                self.unreadable.missed(where, full, error)
        else:
            self.unreadable.read(where)

    def _regular(self, where: Where, at: bytes, fd: int | None, row: Known | None, status: os.stat_result) -> None:
        if self.guests is not None and self.guests.cold(status):
            self.pending.later[where] = self._clock.monotonic() + GUESTS_SECONDS
            return
        self._watch_links(where, at, fd, status)
        known = self._same_inode(row, status)
        if known is not None and self._must_wait(where, known, status):
            self._link(where, row, known, status)
            return
        began, read = self._clock.monotonic(), self.inodes.content.bytes_read
        try:
            file = open_file(at, fd)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO, errno.ENODEV):
                self.pending.missed([where])
                return
            if known is not None and error.errno not in GONE:
                self._link(where, row, known, status)
            raise
        try:
            opened = os.fstat(file)
            if number_of(opened) != number_of(status) or not st.S_ISREG(opened.st_mode):
                self.pending.missed([where])
                return
            file_id, still = self.inodes.regular(file, opened, known, self.wall_ns)
            self.under_way.looked(where, file, opened, self.wall_now_ns())
        finally:
            os.close(file)
        if not still:
            self.pending.again.add(where)
        now = self._clock.monotonic()
        self.pending.compared(file_id, status.st_size, now - began, now, self.inodes.content.bytes_read - read)
        self._point(where, row, known, file_id, status)

    def _must_wait(self, where: Where, known: Known, status: os.stat_result) -> bool:
        """Whether a big file was compared so recently that it is left alone for now."""
        if known.size >= 0 and self.inodes.writes.knows(status.st_dev, status.st_ino, status.st_size) is not None:
            return False  # what was written is known: no more is read than that, however large the file is
        return self.pending.must_wait(where, known.file_id, status.st_size, self._clock.monotonic())

    def _other(
        self,
        where: Where,
        full: bytes,
        at: bytes,
        fd: int | None,
        row: Known | None,
        status: os.stat_result,
        *,
        event: bool,
    ) -> None:
        known = self._same_inode(row, status)
        if known is not None and known is row and full in self.scope.stems and _owned(status) == known[3:6]:
            return  # what else goes on in a directory above is none of our business
        file_id = self.inodes.other(at, fd, status, known, self.wall_ns)
        moved = self._point(where, row, known, file_id, status)
        if st.S_ISDIR(status.st_mode):
            if moved:
                self.places.clear()
            self.places.note(file_id, full)
            # A directory made anew may have the number of the one before it: only a scan tells.
            if event or moved or known is None or known.ctime_ns != status.st_ctime_ns:
                self.to_scan.append(file_id)

    def _same_inode(self, row: Known | None, status: os.stat_result) -> Known | None:
        """What the record knows of the inode that was looked at, under whichever name."""
        dev, ino = number_of(status)
        if row is not None and row.dev == dev and row.ino == ino and row.mode >> 12 == status.st_mode >> 12:
            return row
        known = self.record.by_number(dev, ino)
        return known if known is not None and known.mode >> 12 == status.st_mode >> 12 else None

    def _point(
        self, where: Where, row: Known | None, known: Known | None, file_id: int, status: os.stat_result
    ) -> bool:
        """Make the name lead to the inode if it did not; whether it is new there."""
        if row is not None and row.file_id == file_id:
            return False
        self._name(where, file_id)
        if row is not None:
            self._left(row)
        if known is not None and st.S_ISDIR(status.st_mode):
            for parent, name in self.record.places_of(file_id):
                if (parent, name) != where:
                    self._unlink((parent, name))
        return True

    def _link(self, where: Where, row: Known | None, known: Known, status: os.stat_result) -> None:
        """The name of a known inode whose content is not looked at now."""
        self._point(where, row, known, known.file_id, status)

    def _name(self, where: Where, file_id: int) -> None:
        lsn = self.outbox.builder.dentry(0, *where, file_id)
        self.record.put_name(*where, file_id, lsn)
        self._limbo.pop(file_id, None)
        self.touched.add(where[0])

    def _unlink(self, where: Where) -> None:
        lsn = self.outbox.builder.dentry(0, *where, None)
        self.record.put_name(*where, None, lsn)
        self.touched.add(where[0])
        self.links.end(where)

    def _is_back(self, directory: int, name: bytes) -> bool:
        """Whether a name that was missed is there by now, where a scan of its directory may have found it since."""
        path = self.places.path(directory)
        if path is None:
            return False
        full = join(path, name)
        try:
            status = os.lstat(self.scope.real(full))
        except OSError:
            return False
        return not self.scope.excluded(full, st.S_ISDIR(status.st_mode))

    def _vanished(self, directory: int, name: bytes) -> None:
        where = (directory, name)
        self.unreadable.read(where)
        path = self.places.path(directory)
        if path is None:
            return  # its directory has gone, and it with it
        full = join(path, name)
        if full in self.unmounted.points and not self.scope.excluded(full, True) and self.unmounted.holds(where, full):
            return
        row = self.record.name(directory, name)
        if row is None:
            return
        self._unlink(where)
        crash("name-unlinked")
        if isinstance(row, Known):
            self._left(row)
            if row.mode >> 12 == 4:
                self.places.clear()

    def _left(self, row: Known) -> None:
        """A name stopped leading to the inode: without another one it is forgotten in a while.

        What was done to a file through that name may have shown under no other one.
        """
        file_id = row.file_id
        others = self.record.places_of(file_id)
        if file_id != ROOT_ID and not others:
            self._limbo[file_id] = self._clock.monotonic() + LIMBO_SECONDS
        elif st.S_ISREG(row.mode) and self.watcher.mechanism not in ("fanotify", "scan"):
            self.pending.missed(others)

    def forget_the_left(self) -> None:
        """Forget inodes whose other name has not turned up."""
        now = self._clock.monotonic()
        due = [file_id for file_id, at in self._limbo.items() if at <= now]
        for file_id in due:
            del self._limbo[file_id]
        self.forget(file_id for file_id in due if not self.record.places_of(file_id))

    def forget(self, left: Iterable[int]) -> None:
        """Forget inodes that no name leads to, and all that is below them. There may be a million of them."""
        dropped: set[int] = set()
        for number, file_id in enumerate(left):
            self.pending.paced.pop(file_id, None)
            known = self.record.inode(file_id)
            if known is not None:
                self.inodes.writes.forget(known.dev, known.ino)
            dropped.update(self.record.forget(file_id, self.outbox.breathe))
            if number & 63 == 63:
                self.outbox.breathe()
        for directory in dropped:
            self.watcher.remove_directory(directory)
        if dropped:
            self.pending.held = {where for where in self.pending.held if where[0] not in dropped}

    def hurry(self) -> None:
        """Look at big files too, however lately they were compared."""
        self.pending.paced.clear()

    def _watch_links(self, where: Where, at: bytes, fd: int | None, status: os.stat_result) -> None:
        self.registered |= self.links.watch(where, at, fd, status)

    def _refresh(self, directory: int) -> None:
        """Bring a directory's own attributes up to date."""
        path, known = self.places.path(directory), self.record.inode(directory)
        if path is None:  # it is on its way elsewhere, and may come back
            self.pending.held.update(self.record.places_of(directory))
        if path is None or known is None or (self.unmounted.held and self.unmounted.covers(path)):
            return
        fd = self._opened(directory, path)
        if fd is None:
            self._moved.update(self.pending.again.intersection(self.record.places_of(directory)))
            return
        try:
            status = os.fstat(fd)
            self.unreadable.read((directory, b""))
            if path in self.scope.stems and _owned(status) == known[3:6]:
                return
            self.inodes.described(status, b"", read_xattrs(fd), known, self.wall_now_ns())
        except OSError as error:
            self.unreadable.missed((directory, b""), path, error)
        finally:
            os.close(fd)


def _owned(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_mode, status.st_uid, status.st_gid
