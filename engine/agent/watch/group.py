"""A fanotify group: the directories registered with it, and its records turned into dirty names.

Registered directories are held by handle, which survives renames; records of other directories are dropped after one
look-up. Where the marks are put is for the watchers in marks.py to decide.
"""

from __future__ import annotations

import errno
import math
import os
import select
from collections.abc import Sequence
from typing import TypeVar

from engine.agent.watch import fanotify as fan
from engine.agent.watch.base import Drained, WatchRefused
from engine.agent.watch.mounts import MountTable

CONTENT = fan.FAN_MODIFY | fan.FAN_CLOSE_WRITE | fan.FAN_ATTRIB
_NAMES = CONTENT | fan.FAN_CREATE | fan.FAN_DELETE | fan.FAN_ONDIR
# (what a group reports, what its marks ask for), the better first. Linux 5.17 and newer; 5.9 and newer.
DIALECTS = (
    (fan.FAN_REPORT_DFID_NAME_TARGET, _NAMES | fan.FAN_RENAME),
    (
        fan.FAN_REPORT_FID | fan.FAN_REPORT_DIR_FID | fan.FAN_REPORT_NAME,
        _NAMES | fan.FAN_MOVED_FROM | fan.FAN_MOVED_TO,
    ),
)
_READ_BYTES = 256 * 1024
_REFUSALS = {errno.EXDEV, errno.EOPNOTSUPP, errno.EPERM, errno.ENODEV, errno.EINVAL, errno.ENOSPC, errno.ENOSYS}

Place = tuple[int, bytes]
Member = TypeVar("Member", int, Place)


class FanotifyGroup:
    """A watcher but for the marking."""

    mechanism = ""
    costs = ""

    def __init__(
        self,
        roots: Sequence[bytes] = (),
        *,
        ignore_pid: int | None = None,
        bounded: bool = False,
        dialects: Sequence[tuple[int, int]] = DIALECTS,
    ) -> None:
        """`roots` are the trees whose mounts matter. `ignore_pid` drops that process's own changes.

        `bounded` keeps the kernel's limit on queued events, so that an overflow can be had. The first of `dialects`
        that the kernel speaks is used. WatchRefused without CAP_SYS_ADMIN, or on a kernel that speaks none.
        """
        self._fd, self._mask = self._open_group(dialects, 0 if bounded else fan.FAN_UNLIMITED_QUEUE)
        self._roots = tuple(roots)
        self._mounts = MountTable(roots)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        if self._mounts.fileno() >= 0:
            self._poll.register(self._mounts.fileno(), select.POLLPRI)
        self._mounts_moved = False
        self._ignore_pid = ignore_pid
        self._ids: dict[bytes, tuple[int, ...]] = {}
        self._keys: dict[int, bytes] = {}
        self._files: dict[bytes, tuple[Place, ...]] = {}
        self._file_keys: dict[int, dict[bytes, bytes]] = {}
        self._devices: dict[bytes, set[int]] = {}
        self._numberless: set[bytes] = set()
        self._paths: dict[bytes, bytes] = {}

    def _open_group(self, dialects: Sequence[tuple[int, int]], queue: int) -> tuple[int, int]:
        """(descriptor, mask for directories) of a new group."""
        flags = fan.FAN_CLOEXEC | fan.FAN_NONBLOCK | fan.FAN_CLASS_NOTIF | fan.FAN_UNLIMITED_MARKS | queue
        for report, mask in dialects:
            try:
                return fan.fanotify_init(flags | report), mask
            except OSError as error:
                if error.errno != errno.EINVAL or (report, mask) == dialects[-1]:
                    raise self._refused("fanotify_init", error) from error
        raise ValueError("no dialects given")

    def _mark(self, fd: int, *, directory: bool) -> bytes:
        """Mark what is behind the O_PATH descriptor `fd`; the key by which records will name it. Idempotent."""
        raise NotImplementedError

    def _unmark(self, key: bytes) -> None:
        """Give back what a mark costs the kernel, if one object has a mark of its own."""

    def _refused(self, what: str, error: OSError) -> WatchRefused:
        hint = "raise fs.fanotify.max_user_marks" if error.errno == errno.ENOSPC else "a weaker mechanism will do"
        message = f"{self.mechanism}: {what}: {os.strerror(error.errno or 0)}"
        return WatchRefused(message, hint=hint, details={"mechanism": self.mechanism, "errno": error.errno})

    def _marked(self, path: bytes, *, directory: bool) -> bytes:
        """The key of what is at `path`, which is marked when this returns."""
        try:
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_DIRECTORY if directory else 0))
        except OSError as error:
            raise _vanished(error, path) from error
        try:
            key = self._mark(fd, directory=directory)
            status = os.fstat(fd)
            self._devices.setdefault(key[: fan.FSID_SIZE], set()).add(status.st_dev)
            if fan.inode_number(key) != status.st_ino:
                self._numberless.add(key[: fan.FSID_SIZE])
        except OSError as error:
            if error.errno in _REFUSALS:
                raise self._refused(os.fsdecode(path), error) from error
            raise _vanished(error, path) from error
        finally:
            os.close(fd)
        return key

    def add_directory(self, directory_id: int, path: bytes) -> None:
        key = self._marked(path, directory=True)
        self._paths.setdefault(key[: fan.FSID_SIZE], path)
        known = self._keys.get(directory_id)
        if known == key:
            return
        if known is not None:
            self.remove_directory(directory_id)
        self._keys[directory_id] = key
        self._ids[key] = (*self._ids.get(key, ()), directory_id)

    def remove_directory(self, directory_id: int) -> None:
        for name in list(self._file_keys.get(directory_id, ())):
            self.remove_file(directory_id, name)
        key = self._keys.pop(directory_id, None)
        if key is not None and not _leave(self._ids, key, directory_id):
            self._unmark(key)

    def add_file(self, directory_id: int, name: bytes, path: bytes) -> None:
        key = self._marked(path, directory=False)
        names = self._file_keys.setdefault(directory_id, {})
        if names.get(name) == key:
            return
        self.remove_file(directory_id, name)
        self._file_keys.setdefault(directory_id, {})[name] = key
        self._files[key] = (*self._files.get(key, ()), (directory_id, name))

    def remove_file(self, directory_id: int, name: bytes) -> None:
        names = self._file_keys.get(directory_id, {})
        key = names.pop(name, None)
        if not names:
            self._file_keys.pop(directory_id, None)
        if key is not None and not _leave(self._files, key, (directory_id, name)):
            self._unmark(key)

    def wait(self, timeout_seconds: float) -> bool:
        for fd, _ in (ready := self._poll.poll(max(0, math.ceil(timeout_seconds * 1000)))):
            # Polling the mount table takes its signal away, so it is kept for the drain.
            self._mounts_moved = self._mounts_moved or fd != self._fd
        return bool(ready)

    def drain(self) -> Drained:
        moved = self._mounts_changed()
        found = Drained(overflowed=moved, remounted=moved)
        nameless: set[bytes] = set()
        # Counting first bounds the work, whatever the writers do meanwhile.
        pending = fan.pending_events(self._fd)
        while pending > 0:
            try:
                records = os.read(self._fd, _READ_BYTES)
            except BlockingIOError:
                break
            pending -= self._take(records, found, nameless)
        if nameless:
            self._find_inodes(nameless, found)
        return found

    def _take(self, records: bytes, found: Drained, nameless: set[bytes]) -> int:
        """Add what the records say to `found`; the number of events they were."""
        events = 0
        ids, files, ignored, dirty = self._ids, self._files, self._ignore_pid, found.dirty
        for mask, pid, key, name, following in fan.parse(records):
            events += 1
            if mask & fan.FAN_RENAME and following and records[following] == fan.FAN_EVENT_INFO_TYPE_NEW_DFID_NAME:
                events -= 1  # the new name of the same event is still to come
            if pid == ignored:
                continue
            for directory_id in ids.get(key, ()):
                if name == b".":
                    found.self_dirty.add(directory_id)
                else:
                    dirty.add((directory_id, name))
            if files and following:
                dirty.update(files.get(fan.target_key(records, following), ()))
            if not name:
                if key:
                    # A link made or removed shows so: of its other names not all may have been registered yet.
                    if key not in files or mask & fan.FAN_ATTRIB:
                        nameless.add(key)
                elif mask & fan.FAN_Q_OVERFLOW:
                    found.overflowed = True
            elif name.startswith(b"#") and name[1:].isdigit():
                # The kernel's own name for a file made with O_TMPFILE: the number of its inode.
                found.inodes.update((device, int(name[1:])) for device in self._devices.get(key[: fan.FSID_SIZE], ()))
        return events

    def _find_inodes(self, nameless: set[bytes], found: Drained) -> None:
        """Records without a name (links made and removed, a file opened by handle, as an NFS server does): their inodes
        instead. Most are strangers'. Where handles tell the number none is opened: that costs, and fails under load."""
        for key in nameless:
            fsid = key[: fan.FSID_SIZE]
            if fsid not in self._devices:
                continue
            number = fan.inode_number(key)
            if number is not None and fsid not in self._numberless:
                found.inodes.update((device, number) for device in self._devices[fsid])
                continue
            try:
                fd = self._open(key)
            except OSError as error:
                if error.errno != errno.ESTALE:  # else it has gone
                    found.overflowed = True
                continue
            status = os.fstat(fd)
            os.close(fd)
            found.inodes.add((status.st_dev, status.st_ino))

    def _open(self, key: bytes) -> int:
        """An O_PATH descriptor of the object, through any directory of its file system."""
        mount_fd = self._way_into(key[: fan.FSID_SIZE])
        try:
            return fan.open_by_key(key, mount_fd)
        finally:
            os.close(mount_fd)

    def _way_into(self, fsid: bytes) -> int:
        """A descriptor of a directory on a file system: of the first one registered there, else of a root, since its
        path may lead elsewhere by now, or nowhere. FileNotFoundError when none is to be had."""
        for path in (self._paths.get(fsid, b""), *self._roots):
            try:
                fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError:
                continue
            if os.fstat(fd).st_dev in self._devices.get(fsid, ()):
                return fd
            os.close(fd)
        self._paths.pop(fsid, None)  # the next directory added takes its place
        raise FileNotFoundError(errno.ENOENT, "no directory of the file system is to be had")

    def _mounts_changed(self) -> bool:
        """Whether a watched tree has got another mount, or lost its marks to an unmount."""
        raise NotImplementedError

    def _mounts_moved_since(self) -> bool:
        """Whether any mount came or went since this was last asked."""
        moved = self._mounts.any_changed() or self._mounts_moved
        self._mounts_moved = False
        return moved

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._mounts.close()


def _vanished(error: OSError, path: bytes) -> OSError:
    """`error`, as FileNotFoundError when it means that there is nothing (of this kind) at `path` any more."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.ELOOP):
        return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    return error


def _leave(members: dict[bytes, tuple[Member, ...]], key: bytes, member: Member) -> bool:
    """Take `member` out from under `key`; whether others stay."""
    left = tuple(other for other in members.get(key, ()) if other != member)
    if left:
        members[key] = left
    else:
        members.pop(key, None)
    return bool(left)
