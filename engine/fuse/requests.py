"""What a FUSE server is asked that lets its files be changed, as bytes. Source: linux/fuse.h; protocol 7.31 to 7.40.

Beside `protocol`, which has what every file system needs. Everything is in the machine's own byte order; no I/O.
"""

from __future__ import annotations

import os
import struct
from typing import NamedTuple

from engine.fuse import protocol as fuse

KERNEL_MINOR = 40
"""The newest minor that is spoken; with an older kernel the older one's."""

SYMLINK, MKNOD, MKDIR, UNLINK, RMDIR, RENAME, LINK, WRITE = 6, 8, 9, 10, 11, 12, 13, 16
FSYNC, SETXATTR, REMOVEXATTR, FSYNCDIR, CREATE = 20, 21, 24, 30, 35
FALLOCATE, RENAME2, COPY_FILE_RANGE, TMPFILE = 43, 45, 47, 51

# Of INIT. The second word of flags holds bits 32 and up.
BIG_WRITES, DONT_MASK, ASYNC_DIO, CACHE_SYMLINKS = 1 << 5, 1 << 6, 1 << 15, 1 << 23
HANDLE_KILLPRIV_V2, SETXATTR_EXT, INIT_EXT = 1 << 28, 1 << 29, 1 << 30
PASSTHROUGH, HAS_RESEND = 1 << 37, 1 << 39
OPEN_PASSTHROUGH = 1 << 7

# Of SETATTR: what is to be set.
MODE, UID, GID, SIZE, ATIME, MTIME, BY_HANDLE, ATIME_NOW, MTIME_NOW = (1 << bit for bit in range(9))
KILL_SUIDGID = 1 << 11
WRITE_KILL_SUIDGID = 1 << 2
GETATTR_BY_HANDLE = 1 << 0
SETXATTR_KILL_SGID = 1 << 0
DATASYNC = 1 << 0

RESENT = 1 << 63
"""In a request's unique: it was read before, by someone who died (FUSE_UNIQUE_RESEND)."""
_INTERRUPT = 1
_NOTIFY_INVALIDATE, _NOTIFY_RESEND = 2, 7
BACKING_OPEN, BACKING_CLOSE = 0x4010E501, 0x4004E502
"""ioctl(2) requests of the device, Linux 6.9 and newer: _IOW(229, 1, 16 bytes), _IOW(229, 2, 4 bytes)."""

_ATTRIBUTES = struct.Struct("=QQQqqqIIIIIIIIII")
_INIT_OUT = struct.Struct("=IIIIHHIIHHIIH22x")
_OUT = struct.Struct("=IiQ")
SETATTR_IN = struct.Struct("=I4xQQ8xqqqIIIIIII4x")
_OPEN_IN = struct.Struct("=II")
_CREATE_IN = struct.Struct("=IIII")
_MKNOD_IN = struct.Struct("=III4x")
_MKDIR_IN = struct.Struct("=II")
_RENAME_IN, _RENAME2_IN = struct.Struct("=Q"), struct.Struct("=QI4x")
_WRITE_IN = struct.Struct("=QQII16x")
_FSYNC_IN = struct.Struct("=QI4x")
_SETXATTR_IN, _SETXATTR_EXT_IN = struct.Struct("=II"), struct.Struct("=III4x")
_FALLOCATE_IN = struct.Struct("=QQQI4x")
_LSEEK_IN = struct.Struct("=QQI4x")
_COPY_IN = struct.Struct("=QQQQQQQ")
_STATFS = struct.Struct("=QQQQQIIII24x")
_FORGET_ONE = struct.Struct("=QQ")
_SECOND = 1_000_000_000


class Wanted(NamedTuple):
    """A SETATTR: `valid` says which of the rest counts. Times are (seconds, nanoseconds)."""

    valid: int
    handle: int
    size: int
    atime: tuple[int, int]
    mtime: tuple[int, int]
    mode: int
    uid: int
    gid: int


def setattr_of(body: memoryview) -> Wanted:
    valid, handle, size, atime, mtime, _, a_ns, m_ns, _, mode, _, uid, gid = SETATTR_IN.unpack_from(body)
    return Wanted(valid, handle, size, (atime, a_ns), (mtime, m_ns), mode, uid, gid)


def attributes(found: os.stat_result, node: int, links: int) -> bytes:
    """What stat(2) said of a file behind, as the kernel is told it."""
    atime, a_ns = divmod(found.st_atime_ns, _SECOND)
    mtime, m_ns = divmod(found.st_mtime_ns, _SECOND)
    ctime, c_ns = divmod(found.st_ctime_ns, _SECOND)
    rdev = found.st_rdev
    return _ATTRIBUTES.pack(
        *(node, found.st_size, found.st_blocks, atime, mtime, ctime, a_ns, m_ns, c_ns),
        *(found.st_mode, links, found.st_uid, found.st_gid, fuse.kernel_device(rdev) if rdev else 0),
        *(found.st_blksize, 0),
    )


def offered(body: memoryview) -> tuple[int, int, int, int]:
    """(major, minor, read-ahead, flags of 64 bits) of the kernel's INIT."""
    major, minor, ahead, flags = fuse.wanted(body)
    if flags & INIT_EXT:
        flags |= struct.unpack_from("=I", body, 16)[0] << 32
    return major, minor, ahead, flags


def agreed(minor: int, ahead: int, flags: int, write_bytes: int) -> bytes:
    """The answer to INIT. `flags`: those that are used, of 64 bits; writes come with up to `write_bytes`."""
    return _INIT_OUT.pack(
        *(fuse.KERNEL_VERSION, min(minor, KERNEL_MINOR), min(ahead, fuse.READ_BYTES_MAX), flags & 0xFFFFFFFF),
        *(64, 48, write_bytes, 1, fuse.PAGES_MAX, 0, flags >> 32, int(bool(flags & PASSTHROUGH)), 0),
    )


def open_of(body: memoryview) -> int:
    """open(2)'s flags."""
    return int(_OPEN_IN.unpack_from(body)[0])


def opened(handle: int, flags: int, backing: int = 0) -> bytes:
    return struct.pack("=QIi", handle, flags, backing)


def create_of(body: memoryview) -> tuple[int, int, int, bytes]:
    """(open(2)'s flags, mode, umask, name) of CREATE and TMPFILE."""
    flags, mode, umask, _ = _CREATE_IN.unpack_from(body)
    return flags, mode, umask, fuse.name_of(body[_CREATE_IN.size :])


def mknod_of(body: memoryview) -> tuple[int, int, int, bytes]:
    """(mode with type, st_rdev, umask, name)."""
    mode, rdev, umask = _MKNOD_IN.unpack_from(body)
    major, minor = rdev >> 8 & 0xFFF, rdev & 0xFF | rdev >> 12 & 0xFFF00  # new_decode_dev
    return mode, os.makedev(major, minor), umask, fuse.name_of(body[_MKNOD_IN.size :])


def mkdir_of(body: memoryview) -> tuple[int, int, bytes]:
    """(mode, umask, name)."""
    mode, umask = _MKDIR_IN.unpack_from(body)
    return mode, umask, fuse.name_of(body[_MKDIR_IN.size :])


def two_names(body: memoryview) -> tuple[bytes, bytes]:
    first, second, *_ = bytes(body).split(b"\0", 2)
    return first, second


def rename_of(opcode: int, body: memoryview) -> tuple[int, int, bytes, bytes]:
    """(the new directory's node, renameat2(2)'s flags, old name, new name) of RENAME and RENAME2."""
    if opcode == RENAME:
        return (_RENAME_IN.unpack_from(body)[0], 0, *two_names(body[_RENAME_IN.size :]))
    directory, flags = _RENAME2_IN.unpack_from(body)
    return (directory, flags, *two_names(body[_RENAME2_IN.size :]))


def link_of(body: memoryview) -> tuple[int, bytes]:
    """(the node that gets a further name, that name)."""
    return int(_RENAME_IN.unpack_from(body)[0]), fuse.name_of(body[_RENAME_IN.size :])


def write_of(body: memoryview) -> tuple[int, int, int, memoryview]:
    """(handle, offset, flags, data)."""
    handle, offset, size, flags = _WRITE_IN.unpack_from(body)
    return handle, offset, flags, body[_WRITE_IN.size : _WRITE_IN.size + size]


def written(count: int) -> bytes:
    return _OPEN_IN.pack(count, 0)


def fsync_of(body: memoryview) -> tuple[int, int]:
    """(handle, flags)."""
    handle, flags = _FSYNC_IN.unpack_from(body)
    return handle, flags


def setxattr_of(body: memoryview, extended: bool) -> tuple[bytes, bytes, int, int]:
    """(name, value, setxattr(2)'s flags, FUSE's own flags); `extended`: SETXATTR_EXT was agreed on."""
    if extended:
        size, flags, own = _SETXATTR_EXT_IN.unpack_from(body)
        rest = bytes(body[_SETXATTR_EXT_IN.size :])
    else:
        (size, flags), own = _SETXATTR_IN.unpack_from(body), 0
        rest = bytes(body[_SETXATTR_IN.size :])
    name, value = rest.split(b"\0", 1)
    return name, value[:size], flags, own


def fallocate_of(body: memoryview) -> tuple[int, int, int, int]:
    """(handle, offset, length, fallocate(2)'s mode)."""
    handle, offset, length, mode = _FALLOCATE_IN.unpack_from(body)
    return handle, offset, length, mode


def lseek_of(body: memoryview) -> tuple[int, int, int]:
    """(handle, offset, whence: SEEK_DATA or SEEK_HOLE)."""
    handle, offset, whence = _LSEEK_IN.unpack_from(body)
    return handle, offset, whence


def copy_of(body: memoryview) -> tuple[int, int, int, int, int, int]:
    """(handle and offset to copy from; node, handle and offset to copy to; length)."""
    handle, offset, node, handle_to, offset_to, length, _ = _COPY_IN.unpack_from(body)
    return handle, offset, node, handle_to, offset_to, length


def forgotten(opcode: int, node: int, body: memoryview) -> list[tuple[int, int]]:
    """(node, how many lookups less) of FORGET and BATCH_FORGET."""
    if opcode == fuse.FORGET:
        return [(node, _RENAME_IN.unpack_from(body)[0])]
    (count,) = struct.unpack_from("=I", body)
    return [_FORGET_ONE.unpack_from(body, 8 + at * _FORGET_ONE.size) for at in range(count)]


def handle_of(body: memoryview) -> int:
    """The handle of RELEASE, RELEASEDIR and GETATTR's like, where it comes first."""
    return int(_RENAME_IN.unpack_from(body)[0])


def interrupted(body: memoryview) -> int:
    """The unique of the request that an INTERRUPT is about."""
    return int(_RENAME_IN.unpack_from(body)[0])


def statfs(found: os.statvfs_result) -> bytes:
    return _STATFS.pack(
        *(found.f_blocks, found.f_bfree, found.f_bavail, found.f_files, found.f_ffree),
        *(found.f_bsize, found.f_namemax, found.f_frsize, 0),
    )


def resend() -> bytes:
    """To be written to the device: have all asked again that was read and not answered (FUSE_NOTIFY_RESEND)."""
    return _OUT.pack(_OUT.size, _NOTIFY_RESEND, 0)


def attributes_changed(node: int) -> bytes:
    """To be written to the device: what the kernel knows of a node's attributes doesn't hold. ENOENT: it knows none."""
    return _OUT.pack(_OUT.size + 24, _NOTIFY_INVALIDATE, 0) + struct.pack("=Qqq", node, -1, 0)


def still_waiting(unique: int) -> bytes:
    """To be written to the device: changes nothing, and is ENOENT when nobody waits for this answer any more.

    It has the form of the answer to an INTERRUPT, which the kernel takes for as long as the request itself is open.
    """
    return _OUT.pack(_OUT.size, 0, unique | _INTERRUPT)


def sought(offset: int) -> bytes:
    """The answer to LSEEK."""
    return _RENAME_IN.pack(offset)
