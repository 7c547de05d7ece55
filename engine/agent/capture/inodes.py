"""One inode as events: its attributes, and the content of a regular file.

A file that can't be read leaves no trace here but the error: a name without its content would look like an empty file.
"""

from __future__ import annotations

import errno
import os
import stat as st

from engine.agent.capture import partly
from engine.agent.capture.content import (
    CHUNK_BYTES,
    Content,
    CutShort,
    Ranges,
    chunk_digests,
    digests_of,
    ranges_of,
    read_chunk,
)
from engine.agent.capture.outbox import Outbox
from engine.agent.kept.record import UNKNOWN_SIZE, Known, Record, number_of
from engine.agent.ranges.base import SMALL_BYTES, Unknown, Writes
from engine.agent.recovered.cold import Cold, File
from engine.agent.recovered.compare import compare
from engine.env.crash import crash
from engine.model.events import BLOCK, CHARACTER, FILE, SYMLINK
from engine.tree.attributes import TYPES, read_xattrs

RACY_NANOSECONDS = 12_000_000
"""A change this soon after another may carry the same time: the kernel stamps files by its tick."""

COARSE_NANOSECONDS = 2_000_000_000
"""The same on file systems that keep whole seconds (ext4 with small inodes), or every other one (FAT)."""

_SECOND = 1_000_000_000

_ATTEMPTS = 3
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_OPEN_QUIETLY = _OPEN | (os.O_NOATIME if os.geteuid() == 0 else 0)
_TYPE = 0o170000


def open_file(name: bytes, dir_fd: int | None) -> int:
    """Open a file for reading, without a trace in its atime where that is allowed. Never waits for a FIFO's writer."""
    try:
        return os.open(name, _OPEN_QUIETLY, dir_fd=dir_fd)
    except PermissionError as error:
        if error.errno != errno.EPERM:
            raise
        return os.open(name, _OPEN, dir_fd=dir_fd)  # open(2): O_NOATIME is for owners and CAP_FOWNER only


class Inodes:
    """Writes inodes into an outbox and a record. OSError from every call says what could not be read."""

    def __init__(self, record: Record, outbox: Outbox) -> None:
        self._record, self._outbox = record, outbox
        self.content = Content(record, outbox)
        self.writes: Writes = Unknown()
        self._unexplained: dict[int, int] = {}
        self.cold: Cold | None = None
        """A recovery on demand whose tree this is: its files are never read where they are cold."""

    def regular(self, fd: int, status: os.stat_result, known: Known | None, wall_ns: int) -> tuple[int, bool]:
        """Emit what is new of an open regular file: (file_id, whether it held still meanwhile).

        `status` is its fstat, `wall_ns` a wall time before that.
        """
        if self.cold is not None and known is not None:
            file = self.cold.file(known.file_id, fd)
            if file is not None:
                return self._recovered(fd, known, wall_ns, file)
            if self.cold.lost(known.file_id):
                self._record.cut_blocks(known.file_id, 0)
                known = known._replace(size=UNKNOWN_SIZE)
        ranges = self.writes.of(status.st_dev, status.st_ino, fd, status.st_size)
        if ranges is not None and known is not None and known.size != UNKNOWN_SIZE and status.st_size > SMALL_BYTES:
            if ranges or status.st_size != known.size or not _later(known, status):
                return self._partly(fd, status, known, wall_ns, ranges)
            self._wait_for_ranges(status, known)
            return known.file_id, False
        if status.st_size > CHUNK_BYTES or (known is not None and known.size > CHUNK_BYTES):
            return self._large(fd, status, known, wall_ns)
        parts: Ranges = []
        still = False
        for _ in range(_ATTEMPTS):
            try:
                parts = self._read_small(fd, status)
                after = os.fstat(fd)
            except CutShort:
                after = os.fstat(fd)
            else:
                still = _same(status, after)
                if still:
                    break
            status = after
            if status.st_size > CHUNK_BYTES:
                return self._large(fd, status, known, wall_ns)
        else:
            parts = self._read_still(fd, status)
        crash("file-read")
        xattrs = read_xattrs(fd)
        file_id = self._small(status, parts, xattrs, known, wall_ns)
        self.writes.looked(status.st_dev, status.st_ino)
        return file_id, still

    def _partly(self, fd: int, status: os.stat_result, known: Known, wall_ns: int, ranges: Ranges) -> tuple[int, bool]:
        """A known file of which only these ranges may have changed, and what its change of size touches."""
        xattrs = read_xattrs(fd)
        try:
            sizes = status.st_size, known.size
            source = self.writes.reading(status.st_dev, status.st_ino, fd)
            partly.compare(self.content, self._record, self._outbox, source, known.file_id, sizes, ranges)
        except CutShort:
            return known.file_id, False
        self._finish(known, status, b"", xattrs, wall_ns)
        self._unexplained.pop(known.file_id, None)
        self.writes.looked(status.st_dev, status.st_ino)
        crash("file-captured-partly")
        return known.file_id, _same(status, os.fstat(fd))

    def _recovered(self, fd: int, known: Known, wall_ns: int, file: File) -> tuple[int, bool]:
        """A file that a recovery on demand brought back, whether or not all of it is there."""
        assert self.cold is not None
        status = self.cold.status(file, fd)
        ranges = self.writes.of(status.st_dev, status.st_ino, fd, status.st_size)
        same_size = known.size == status.st_size
        if ranges is not None and not ranges and same_size and _later(known, status):
            self._wait_for_ranges(status, known)
            return known.file_id, False
        xattrs = self.cold.xattrs(file, fd)
        try:
            sizes = status.st_size, known.size
            compare(self.content, self._record, self._outbox, self.cold, file, fd, sizes, ranges)
        except CutShort:
            return known.file_id, False
        self._finish(known, status, b"", xattrs, wall_ns)
        self._unexplained.pop(known.file_id, None)
        self.writes.looked(status.st_dev, status.st_ino)
        after = self.cold.status(file, fd)  # a fill changes its ctime, and no more
        return file.file_id, (status.st_mtime_ns, status.st_size) == (after.st_mtime_ns, after.st_size)

    def _wait_for_ranges(self, status: os.stat_result, known: Known) -> None:
        """The file was written to, and it isn't known where: it is to be looked at again in a moment.

        A write stamps the file just before it is traced; a store into a page that was dirty before is not traced at
        all, but lies in a dirty page. If neither explains the time after a while, everything is compared.
        """
        tries = self._unexplained.pop(known.file_id, 0) + 1
        if tries < _ATTEMPTS:
            self._unexplained[known.file_id] = tries
            self.writes.scan(status.st_dev, status.st_ino)
        else:
            self.writes.forget(status.st_dev, status.st_ino)

    def _read_small(self, fd: int, status: os.stat_result) -> Ranges:
        """Read a whole file of at most a chunk into the buffer; where its data is."""
        size = status.st_size
        if size == 0:
            return []
        return read_chunk(fd, self.content.buffer, 0, size, ranges_of(fd, status))

    def _read_still(self, fd: int, status: os.stat_result) -> Ranges:
        """As `_read_small`, for a file that does not hold still: an end that comes early leaves zeros."""
        size = status.st_size
        self.content.buffer.view[:size] = bytes(size)  # never another file's bytes
        try:
            return self._read_small(fd, status)
        except CutShort:
            return [(0, size)]

    def _small(self, status: os.stat_result, parts: Ranges, xattrs: bytes, known: Known | None, wall_ns: int) -> int:
        size, content = status.st_size, self.content
        content.read(size)
        buffer = content.buffer
        new = digests_of(buffer.view[:size]) if len(parts) == 1 and parts[0][1] == size else b""
        if not new and size:
            new = chunk_digests(buffer, size, parts)
        if known is None:
            file_id = self._emit(None, status, b"", xattrs)
            if size:
                content.write(file_id, 0, size, parts, new, b"")
            self._record.put_inode(file_id, file_id, status, b"", xattrs, settled_ctime(status, wall_ns))
            crash("new-file-captured")
            return file_id
        file_id = known.file_id
        content.cut(file_id, size, known.size)
        if size:
            content.write(file_id, 0, size, parts, new, content.old_digests(file_id, 0, known.size))
        self._finish(known, status, b"", xattrs, wall_ns)
        crash("file-captured")
        return file_id

    def _large(self, fd: int, status: os.stat_result, known: Known | None, wall_ns: int) -> tuple[int, bool]:
        xattrs = read_xattrs(fd)
        os.preadv(fd, [self.content.buffer.view[:1]], 0)  # one that can't be read must not leave its inode behind
        file_id = known.file_id if known else self._emit(None, status, b"", xattrs)
        try:
            source = self.writes.reading(status.st_dev, status.st_ino, fd)
            self.content.stream(source, file_id, status, known.size if known else None)
        except CutShort:
            if known is not None:
                return file_id, False
            # The row keeps the size that was promised, so that the next look covers what is missing with a hole.
            self.writes.forget(status.st_dev, status.st_ino)
        if known is None:
            self._record.put_inode(file_id, file_id, status, b"", xattrs, settled_ctime(status, wall_ns))
        else:
            self._finish(known, status, b"", xattrs, wall_ns)
        self.writes.looked(status.st_dev, status.st_ino)
        crash("large-file-captured")
        return file_id, _same(status, os.fstat(fd))

    def other(self, name: bytes, dir_fd: int | None, status: os.stat_result, known: Known | None, wall_ns: int) -> int:
        """Emit what is new of anything but a regular file; its file_id."""
        target = os.readlink(name, dir_fd=dir_fd) if st.S_ISLNK(status.st_mode) else b""
        where = name if dir_fd is None else b"/proc/self/fd/%d/%b" % (dir_fd, name)
        return self.described(status, target, read_xattrs(where), known, wall_ns)

    def described(
        self,
        status: os.stat_result,
        target: bytes,
        xattrs: bytes,
        known: Known | None,
        wall_ns: int,
        file_id: int | None = None,
    ) -> int:
        """Emit an inode whose attributes the caller has read; `file_id` forces the one of a new inode."""
        if known is not None:
            self._finish(known, status, target, xattrs, wall_ns)
            return known.file_id
        lsn = self._emit(file_id, status, target, xattrs)
        file_id = lsn if file_id is None else file_id
        self._record.put_inode(file_id, lsn, status, target, xattrs, settled_ctime(status, wall_ns))
        return file_id

    def _finish(self, known: Known, status: os.stat_result, target: bytes, xattrs: bytes, wall_ns: int) -> None:
        """Emit the attributes if any differs from what is known; note the inode's new times in any case."""
        regular = st.S_ISREG(status.st_mode)
        before = (known.mode, known.uid, known.gid, known.mtime_ns, known.target, known.xattrs)
        after = (status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, target, xattrs)
        if before != after or known.rdev != status.st_rdev or (regular and known.size != status.st_size):
            self._emit(known.file_id, status, target, xattrs)
        lsn = self._outbox.builder.lsn_next - 1
        self._record.put_inode(known.file_id, lsn, status, target, xattrs, settled_ctime(status, wall_ns))

    def _emit(self, file_id: int | None, status: os.stat_result, target: bytes, xattrs: bytes) -> int:
        mode = status.st_mode
        kind = TYPES[mode & _TYPE]
        size = status.st_size if kind == FILE else len(target) if kind == SYMLINK else 0
        rdev = status.st_rdev if kind in (CHARACTER, BLOCK) else 0
        return self._outbox.builder.inode(
            *(0, file_id, kind, mode & 0o7777, status.st_uid, status.st_gid),
            *(size, status.st_mtime_ns, rdev, target, xattrs),
        )


def settled_ctime(status: os.stat_result, wall_ns: int) -> int:
    """The ctime to record; -1 when it is so recent that a later change may bear the same one."""
    ctime_ns = status.st_ctime_ns
    racy = RACY_NANOSECONDS if ctime_ns % _SECOND else COARSE_NANOSECONDS + RACY_NANOSECONDS
    return ctime_ns if wall_ns - ctime_ns > racy else -1


def _later(known: Known, status: os.stat_result) -> bool:
    """Whether a write has come since: a time that was set back says nothing of that."""
    return status.st_mtime_ns > max(known.mtime_ns, known.ctime_ns)


def _same(before: os.stat_result, after: os.stat_result) -> bool:
    return (
        before.st_mtime_ns == after.st_mtime_ns
        and before.st_ctime_ns == after.st_ctime_ns
        and before.st_size == after.st_size
    )


def unchanged(known: Known, status: os.stat_result) -> bool:
    """Whether nothing of an inode has changed by its numbers and times. Not good enough after an event."""
    return (
        known.ctime_ns == status.st_ctime_ns
        and known.mtime_ns == status.st_mtime_ns
        and known.size == status.st_size
        and known.mode == status.st_mode
        and (known.dev, known.ino) == number_of(status)
    )
