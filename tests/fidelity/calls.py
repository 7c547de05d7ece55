"""System calls of Linux that Python has no functions for, with the names of the manual pages."""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
from pathlib import Path

KEEP_SIZE, PUNCH_HOLE, COLLAPSE_RANGE, ZERO_RANGE, INSERT_RANGE = 1, 2, 8, 16, 32
RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT = 1, 2, 4
FS_APPEND_FL, FS_IMMUTABLE_FL, FS_NODUMP_FL = 0x20, 0x10, 0x40
_FICLONE, _FICLONERANGE, _FIDEDUPERANGE = 0x40049409, 0x4020940D, 0xC0189436
_FS_IOC_GETFLAGS, _FS_IOC_SETFLAGS = 0x80086601, 0x40086602
_AT_FDCWD = -100

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
_libc.renameat2.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def fallocate(path: Path, mode: int, offset: int, length: int) -> None:
    with path.open("r+b") as file:
        _checked(_libc.fallocate(file.fileno(), mode, offset, length))


def renameat2(old: Path, new: Path, flags: int) -> None:
    _checked(_libc.renameat2(_AT_FDCWD, os.fsencode(old), _AT_FDCWD, os.fsencode(new), flags))


def ficlone(source: Path, target: Path) -> None:
    with source.open("rb") as old, target.open("r+b" if target.exists() else "w+b") as new:
        fcntl.ioctl(new.fileno(), _FICLONE, old.fileno())


def ficlonerange(source: Path, offset: int, length: int, target: Path, to: int) -> None:
    with source.open("rb") as old, target.open("r+b") as new:
        fcntl.ioctl(new.fileno(), _FICLONERANGE, struct.pack("=qQQQ", old.fileno(), offset, length, to))


def fideduperange(source: Path, target: Path, length: int) -> None:
    """Both begin with the same `length` bytes; they share them afterwards."""
    with source.open("rb") as old, target.open("r+b") as new:
        asked = bytearray(struct.pack("=QQHHI qQQiI", 0, length, 1, 0, 0, new.fileno(), 0, 0, 0, 0))
        fcntl.ioctl(old.fileno(), _FIDEDUPERANGE, asked)
    status = struct.unpack_from("=i", asked, 24 + 24)[0]
    if status:
        raise OSError(-status, os.strerror(-status))


def chattr(path: Path, flags: int) -> None:
    """These flags and no others of those above; extents and the like stay."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        held = bytearray(8)
        fcntl.ioctl(fd, _FS_IOC_GETFLAGS, held)
        kept = int.from_bytes(held[:4], "little") & ~(FS_APPEND_FL | FS_IMMUTABLE_FL | FS_NODUMP_FL)
        fcntl.ioctl(fd, _FS_IOC_SETFLAGS, struct.pack("=Q", kept | flags))
    finally:
        os.close(fd)
