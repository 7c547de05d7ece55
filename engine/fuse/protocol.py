"""What the kernel and a FUSE server say to each other, as bytes. Source: linux/fuse.h, fuse(4); protocol 7.31 on.

Only what a read-only file system needs. Everything is in the machine's own byte order. It does no I/O.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

KERNEL_VERSION, KERNEL_MINOR = 7, 31
"""What we speak. The kernel keeps to the lower of both minors; 7.31 (Linux 5.4) has all that is used here."""

LOOKUP, FORGET, GETATTR, SETATTR, READLINK = 1, 2, 3, 4, 5
OPEN, READ, STATFS, RELEASE, GETXATTR, LISTXATTR, FLUSH, INIT = 14, 15, 17, 18, 22, 23, 25, 26
OPENDIR, READDIR, RELEASEDIR, ACCESS, INTERRUPT, DESTROY = 27, 28, 29, 34, 36, 38
BATCH_FORGET, READDIRPLUS, LSEEK = 42, 44, 46
UNANSWERED = frozenset({FORGET, BATCH_FORGET, INTERRUPT})
WRITES = frozenset({SETATTR, 6, 8, 9, 10, 11, 12, 13, 16, 21, 24, 35, 43, 45})
"""symlink, mknod, mkdir, unlink, rmdir, rename, link, write, setxattr, removexattr, create, fallocate, rename2."""

ASYNC_READ, EXPORT_SUPPORT, DO_READDIRPLUS, READDIRPLUS_AUTO = 1 << 0, 1 << 4, 1 << 13, 1 << 14
NO_OPEN_SUPPORT, PARALLEL_DIROPS, POSIX_ACL, MAX_PAGES = 1 << 17, 1 << 18, 1 << 20, 1 << 22
OPEN_KEEP_CACHE, OPEN_CACHE_DIR = 1 << 1, 1 << 3

ROOT = 1
"""The node of the mount's own directory."""

READ_BYTES_MAX = 1 << 20
PAGES_MAX = READ_BYTES_MAX // 4096
WRITE_BYTES_MAX = 64 << 10
REQUEST_BYTES_MAX = WRITE_BYTES_MAX + 8192
"""What a buffer for requests must hold: a write's data, though none is taken, and the longest names."""

_IN = struct.Struct("=IIQQIIIHH")
_OUT = struct.Struct("=IiQ")
_ATTRIBUTES = struct.Struct("=QQQqqqIIIIIIIIII")
_ENTRY = struct.Struct("=QQQQII")
_ATTRIBUTES_OUT = struct.Struct("=QII")
_INIT_IN = struct.Struct("=IIII")
_INIT_OUT = struct.Struct("=IIIIHHIIHHIIH22x")
_READ = struct.Struct("=QQII")
_OPEN_OUT = struct.Struct("=QIi")
_DIRENT = struct.Struct("=QQII")
_LISTED = struct.Struct("=" + "QQQQII" + "QQQqqqIIIIIIIIII" + "QQII")
_STATFS = struct.Struct("=QQQQQIIII24x")
_SIZE = struct.Struct("=II")
IN_BYTES, OUT_BYTES, ENTRY_BYTES = _IN.size, _OUT.size, _ENTRY.size + _ATTRIBUTES.size
DIRENT_BYTES = _DIRENT.size
_SECOND = 1_000_000_000
_UNIX_BLOCK = 512


class Request(NamedTuple):
    """One request: what is asked of which node, by whom; `body` is what follows the header."""

    opcode: int
    unique: int
    node: int
    uid: int
    gid: int
    pid: int
    body: memoryview


@dataclass(frozen=True, slots=True)
class Attributes:
    """What stat(2) shows of a node; `mode` holds the type too. atime and ctime are shown as mtime."""

    node: int
    mode: int
    size: int = 0
    mtime_ns: int = 0
    uid: int = 0
    gid: int = 0
    links: int = 1
    rdev: int = 0
    stored: int | None = None
    """Bytes of it that are data and no holes; None: all."""

    def packed(self) -> bytes:
        seconds, nanoseconds = divmod(self.mtime_ns, _SECOND)
        return _ATTRIBUTES.pack(
            *(self.node, self.size, blocks_of(self.size if self.stored is None else self.stored)),
            *(seconds, seconds, seconds),
            *(nanoseconds, nanoseconds, nanoseconds, self.mode, self.links, self.uid, self.gid),
            *(kernel_device(self.rdev), 4096, 0),
        )


def blocks_of(stored: int) -> int:
    """What stat(2) calls blocks."""
    return -(-stored // _UNIX_BLOCK)


def kernel_device(rdev: int) -> int:
    """A device number in the 32 bits in which the kernel passes it (new_encode_dev); st_rdev has 64."""
    major = (rdev >> 8) & 0xFFF | (rdev >> 32) & ~0xFFF
    minor = rdev & 0xFF | (rdev >> 12) & ~0xFF
    return (minor & 0xFF | (major & 0xFFF) << 8 | (minor & ~0xFF) << 12) & 0xFFFFFFFF


def read_request(buffer: memoryview) -> Request:
    """A request as the device gave it. ValueError when it is cut short."""
    if len(buffer) < IN_BYTES:
        raise ValueError(f"a request of {len(buffer)} bytes")
    length, opcode, unique, node, uid, gid, pid, _, _ = _IN.unpack_from(buffer)
    if length != len(buffer):
        raise ValueError(f"a request of {len(buffer)} bytes that says it has {length}")
    return Request(opcode, unique, node, uid, gid, pid, buffer[IN_BYTES:])


def answer(unique: int, length: int, errno: int = 0) -> bytes:
    """The header before `length` bytes of an answer; with `errno` there are none."""
    return _OUT.pack(OUT_BYTES + length, -errno, unique)


def wanted(body: memoryview) -> tuple[int, int, int, int]:
    """(major, minor, read-ahead, flags) that the kernel offers in INIT."""
    major, minor, ahead, flags = _INIT_IN.unpack_from(body)
    return major, minor, ahead, flags


def agreed(ahead: int, flags: int) -> bytes:
    """The answer to INIT: which of the kernel's flags are used."""
    return _INIT_OUT.pack(
        *(KERNEL_VERSION, KERNEL_MINOR, min(ahead, READ_BYTES_MAX), flags),
        *(64, 48, WRITE_BYTES_MAX, 1, PAGES_MAX, 0, 0, 0, 0),
    )


def entry(node: int, attributes: bytes, entry_seconds: int, attributes_seconds: int) -> bytes:
    """A node under a name, and how long the kernel may believe both. Node 0: there is none, which may be believed."""
    return _ENTRY.pack(node, 0, entry_seconds, attributes_seconds, 0, 0) + attributes


def attributes_out(attributes: bytes, seconds: int) -> bytes:
    return _ATTRIBUTES_OUT.pack(seconds, 0, 0) + attributes


def opened(handle: int, flags: int) -> bytes:
    return _OPEN_OUT.pack(handle, flags, 0)


def read_of(body: memoryview) -> tuple[int, int, int]:
    """(handle, offset, size) of READ, READDIR and READDIRPLUS."""
    handle, offset, size, _ = _READ.unpack_from(body)
    return handle, offset, size


def name_of(body: memoryview) -> bytes:
    """The name that ends a request, without its zero byte."""
    return bytes(body).split(b"\0", 1)[0]


def xattr_of(body: memoryview) -> tuple[int, bytes]:
    """(room for the value, name) of GETXATTR; LISTXATTR has no name."""
    size, _ = _SIZE.unpack_from(body)
    return size, name_of(body[_SIZE.size :])


def xattr_size(size: int) -> bytes:
    return _SIZE.pack(size, 0)


def dirent(node: int, offset: int, name: bytes, mode: int) -> bytes:
    """One name of a listing; `offset` is where the next one begins, in whatever the server counts."""
    return _DIRENT.pack(node, offset, len(name), mode >> 12) + name + bytes(-len(name) % 8)


def listed(
    *,
    node: int,
    offset: int,
    name: bytes,
    mode: int,
    size: int,
    mtime_ns: int,
    uid: int,
    gid: int,
    links: int,
    rdev: int,
    stored: int,
    seconds: int,
) -> bytes:
    """`entry` with its attributes, then `dirent`: a line of READDIRPLUS, made at once since trees have millions.

    The name is in it from ENTRY_BYTES + DIRENT_BYTES on, the dirent alone from ENTRY_BYTES on.
    """
    whole, nanoseconds = divmod(mtime_ns, _SECOND)
    packed = _LISTED.pack(
        *(node, 0, seconds, seconds, 0, 0),
        *(node, size, -(-stored // _UNIX_BLOCK), whole, whole, whole),
        *(nanoseconds, nanoseconds, nanoseconds, mode, links, uid, gid),
        *(kernel_device(rdev) if rdev else 0, 4096, 0),
        *(node, offset, len(name), mode >> 12),
    )
    return packed + name + bytes(-len(name) % 8)


def statfs(blocks: int, files: int) -> bytes:
    """A full file system of so many blocks of 4 KiB."""
    return _STATFS.pack(blocks, 0, 0, files, 0, 4096, 255, 4096, 0)
