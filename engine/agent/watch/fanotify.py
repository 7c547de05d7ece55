"""The fanotify and file handle calls of the C library, with the names of the manual pages, and the parsing of records.

Sources: fanotify(7), fanotify_init(2), fanotify_mark(2), name_to_handle_at(2), linux/fanotify.h. It decides nothing.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
import sys
import termios
from collections.abc import Callable, Iterator
from typing import cast

FAN_CLOEXEC, FAN_NONBLOCK, FAN_CLASS_NOTIF = 0x1, 0x2, 0x0
FAN_UNLIMITED_QUEUE, FAN_UNLIMITED_MARKS = 0x10, 0x20
FAN_REPORT_FID, FAN_REPORT_DIR_FID, FAN_REPORT_NAME, FAN_REPORT_TARGET_FID = 0x200, 0x400, 0x800, 0x1000
FAN_REPORT_DFID_NAME_TARGET = FAN_REPORT_FID | FAN_REPORT_DIR_FID | FAN_REPORT_NAME | FAN_REPORT_TARGET_FID

FAN_MARK_ADD, FAN_MARK_REMOVE, FAN_MARK_ONLYDIR, FAN_MARK_FILESYSTEM = 0x1, 0x2, 0x8, 0x100

FAN_MODIFY, FAN_ATTRIB, FAN_CLOSE_WRITE, FAN_MOVED_FROM, FAN_MOVED_TO = 0x2, 0x4, 0x8, 0x40, 0x80
FAN_CREATE, FAN_DELETE, FAN_DELETE_SELF, FAN_Q_OVERFLOW = 0x100, 0x200, 0x400, 0x4000
FAN_EVENT_ON_CHILD, FAN_RENAME, FAN_ONDIR = 0x08000000, 0x10000000, 0x40000000

FAN_EVENT_INFO_TYPE_FID, FAN_EVENT_INFO_TYPE_DFID_NAME = 1, 2
FAN_EVENT_INFO_TYPE_OLD_DFID_NAME, FAN_EVENT_INFO_TYPE_NEW_DFID_NAME = 10, 12
FANOTIFY_METADATA_VERSION, FAN_EVENT_METADATA_LEN = 3, 24

AT_FDCWD, AT_EMPTY_PATH, AT_HANDLE_FID = -100, 0x1000, 0x200
MAX_HANDLE_SZ = 128

# struct fanotify_event_metadata: event_len, vers, reserved, metadata_len, mask, fd, pid
_METADATA = struct.Struct("=IBBHQii")
# struct fanotify_event_info_fid: info_type, pad, len, fsid, then struct file_handle: handle_bytes, handle_type, data
_INFO_FID = struct.Struct("=BBHQIi")
_FSID = struct.Struct("=II")
_HANDLE = struct.Struct("=Ii")
FSID_SIZE = _FSID.size
# (bytes of a handle, its kind): (where in it the inode's number is, bytes of that), of objects without their parents.
_NUMBERS = {
    (8, 0x01): (0, 4),  # FILEID_INO32_GEN of include/linux/exportfs.h: ext4, and xfs with inode32
    (12, 0x81): (0, 8),  # fs/xfs/xfs_export.h
    (20, 0x4D): (0, 8),  # fs/btrfs/export.h; a subvolume's number follows
    (12, 0x01): (4, 8),  # mm/shmem.c
}

_libc = ctypes.CDLL(None, use_errno=True)


def _declare(name: str, *argtypes: type) -> Callable[..., int]:
    function = getattr(_libc, name)
    function.argtypes = argtypes
    return cast(Callable[..., int], function)


_fanotify_init = _declare("fanotify_init", ctypes.c_uint, ctypes.c_uint)
_fanotify_mark = _declare("fanotify_mark", ctypes.c_int, ctypes.c_uint, ctypes.c_uint64, ctypes.c_int, ctypes.c_char_p)
_name_to_handle_at = _declare(
    "name_to_handle_at",
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.POINTER(ctypes.c_int),
    ctypes.c_int,
)
_open_by_handle_at = _declare("open_by_handle_at", ctypes.c_int, ctypes.c_char_p, ctypes.c_int)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def fanotify_init(flags: int, event_f_flags: int = os.O_RDONLY | os.O_CLOEXEC) -> int:
    """A descriptor of a new group. OSError as in fanotify_init(2): EPERM, EMFILE, ENOSYS, EINVAL on an old kernel."""
    return _checked(_fanotify_init(flags, event_f_flags))


def fanotify_mark(group_fd: int, flags: int, mask: int, dirfd: int, path: bytes) -> None:
    """Add or remove a mark on `path`, relative to `dirfd`. OSError as in fanotify_mark(2)."""
    _checked(_fanotify_mark(group_fd, flags, mask, dirfd, path))


def object_key(fd: int) -> tuple[bytes, int]:
    """What fanotify reports for the object behind `fd` (O_PATH will do), and the number of the mount it is reached by.

    A key is the fsid (FSID_SIZE bytes), then struct file_handle: the handle's length, type, and bytes.

    A key outlives renames and is never used again by another object of the file system (the handle carries the
    inode's generation). OSError EOPNOTSUPP when the file system has no handles at all.
    """
    fsid = os.fstatvfs(fd).f_fsid  # glibc packs the kernel's two ints into one number
    buffer = ctypes.create_string_buffer(_HANDLE.pack(MAX_HANDLE_SZ, 0), _HANDLE.size + MAX_HANDLE_SZ)
    mount_id = ctypes.c_int()
    try:
        _checked(_name_to_handle_at(fd, b"", buffer, ctypes.byref(mount_id), AT_EMPTY_PATH))
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        # Some file systems have handles that identify but can't be opened (overlayfs); fanotify reports those.
        ctypes.memmove(buffer, _HANDLE.pack(MAX_HANDLE_SZ, 0), _HANDLE.size)
        _checked(_name_to_handle_at(fd, b"", buffer, ctypes.byref(mount_id), AT_EMPTY_PATH | AT_HANDLE_FID))
    length, _ = _HANDLE.unpack_from(buffer)
    key = _FSID.pack(fsid & 0xFFFFFFFF, fsid >> 32) + buffer.raw[: _HANDLE.size + length]
    return key, mount_id.value


def open_by_key(key: bytes, mount_fd: int) -> int:
    """An O_PATH descriptor of the object with this key, on the mount of `mount_fd` (which must not be O_PATH itself).

    OSError ESTALE when the object is gone, EPERM without CAP_DAC_READ_SEARCH; see open_by_handle_at(2).
    """
    return _checked(_open_by_handle_at(mount_fd, key[_FSID.size :], os.O_PATH | os.O_CLOEXEC))


def pending_events(group_fd: int) -> int:
    """How many events are queued. (FIONREAD counts only the metadata of each event, not what follows it.)"""
    answer = bytearray(4)
    fcntl.ioctl(group_fd, termios.FIONREAD, answer)
    return int.from_bytes(answer, sys.byteorder) // FAN_EVENT_METADATA_LEN


def parse(records: bytes) -> Iterator[tuple[int, int, bytes, bytes, int]]:
    """One read's worth of records as (mask, pid, directory key, name, offset of the information record that follows).

    A RENAME gives two, the old name and the new. A record without a name gives the object's own key and an empty name.
    An event without information, such as FAN_Q_OVERFLOW, gives an empty key. `target_key` reads at the offset, which
    is 0 when nothing follows. This loop runs for every change on the machine, hence its bareness.
    """
    metadata, info = _METADATA.unpack_from, _INFO_FID.unpack_from
    start, total = 0, len(records)
    while start < total:
        length, version, _, metadata_length, mask, _, pid = metadata(records, start)
        if version != FANOTIFY_METADATA_VERSION:
            raise OSError(errno.EPROTO, f"fanotify speaks version {version}, not {FANOTIFY_METADATA_VERSION}")
        end = start + length
        first = at = start + metadata_length
        start = end
        if first == end:
            yield mask, pid, b"", b"", 0
        while at < end:
            kind, _, info_length, _, handle_bytes, _ = info(records, at)
            name_at = at + 20 + handle_bytes
            following = at + info_length
            if kind == 1:  # alone, or after an old name whose new name is in no marked directory
                if at == first:
                    yield mask, pid, records[at + 4 : name_at], b"", at
                break
            key = records[at + 4 : name_at]
            name = records[name_at : records.index(b"\0", name_at)]
            at = following
            yield mask, pid, key, name, at if at < end else 0
            if kind != 10:
                break


def target_key(records: bytes, offset: int) -> bytes:
    """The key of the changed object itself, from an offset that `parse` gave; empty when there is none.

    After the old name of a RENAME the offset points at the new name's record, which has no target: it comes later.
    """
    kind, _, _, _, handle_bytes, _ = _INFO_FID.unpack_from(records, offset)
    return records[offset + 4 : offset + 20 + handle_bytes] if kind == FAN_EVENT_INFO_TYPE_FID else b""


def inode_number(key: bytes) -> int | None:
    """The inode's number as its handle carries it; None for kinds of handles that aren't known to.

    Others may use the same kinds differently: compare it with the number of an inode of that file system first.
    """
    at, length = _NUMBERS.get(_HANDLE.unpack_from(key, _FSID.size), (0, 0))
    if not length:
        return None
    at += _FSID.size + _HANDLE.size
    return int.from_bytes(key[at : at + length], sys.byteorder)
