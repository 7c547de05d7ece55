"""The fanotify calls that on-demand filling takes, with the names of the manual pages, and its one kind of event.

Sources: fanotify(7), fanotify_init(2), fanotify_mark(2), linux/fanotify.h of Linux 6.14. It decides nothing.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from dataclasses import dataclass

FAN_CLOEXEC, FAN_NONBLOCK, FAN_CLASS_NOTIF, FAN_CLASS_PRE_CONTENT = 0x1, 0x2, 0x0, 0x8
FAN_UNLIMITED_QUEUE, FAN_UNLIMITED_MARKS, FAN_REPORT_TID, FAN_REPORT_FD_ERROR = 0x10, 0x20, 0x100, 0x2000
FAN_MARK_ADD, FAN_MARK_REMOVE, FAN_MARK_MOUNT, FAN_MARK_FLUSH = 0x1, 0x2, 0x10, 0x80
FAN_OPEN, FAN_PRE_ACCESS = 0x20, 0x100000
FAN_ALLOW, FAN_DENY = 1, 2
DENIALS = (errno.EPERM, errno.EIO, errno.EBUSY, errno.ETXTBSY, errno.EAGAIN, errno.ENOSPC, errno.EDQUOT)
"""What a denial may say; others are refused by the kernel."""

O_LARGEFILE = 0o400000 if platform.machine() in ("aarch64", "arm64") else 0o100000
"""For event descriptors; Python's own constant is 0 where the C library adds the flag by itself."""

_AT_FDCWD = -100
_METADATA_VERSION, _INFO_RANGE = 3, 6
# struct fanotify_event_metadata: event_len, vers, reserved, metadata_len, mask, fd, pid
_METADATA = struct.Struct("=IBBHQii")
# struct fanotify_event_info_range: info_type, pad, len, pad, offset, count
_RANGE = struct.Struct("=BBHIQQ")
_RESPONSE = struct.Struct("=iI")
EVENT_BYTES = _METADATA.size + _RANGE.size
"""Of one event with its range: a buffer of this size takes exactly one."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fanotify_init.argtypes = [ctypes.c_uint, ctypes.c_uint]
_libc.fanotify_mark.argtypes = [ctypes.c_int, ctypes.c_uint, ctypes.c_uint64, ctypes.c_int, ctypes.c_char_p]


@dataclass(frozen=True, slots=True)
class Event:
    """Thread `tid` waits to touch [offset, offset+length) of the file behind `fd`, `length` 0 meaning to its end.

    `fd` is negative where the kernel could open none; it has denied the access by then.
    """

    fd: int
    tid: int
    offset: int
    length: int


def fanotify_init(flags: int, event_f_flags: int) -> int:
    """A descriptor of a new group. OSError as in fanotify_init(2): EPERM, EMFILE, ENOSYS, EINVAL on an old kernel."""
    return _checked(_libc.fanotify_init(flags, event_f_flags))


def fanotify_mark(group_fd: int, flags: int, mask: int, path: bytes | None) -> None:
    """Add or remove a mark; without a path all of a kind go (FAN_MARK_FLUSH). OSError as in fanotify_mark(2)."""
    _checked(_libc.fanotify_mark(group_fd, flags, mask, _AT_FDCWD, path if path is not None else b"/"))


def event_of(record: bytes | memoryview) -> Event | None:
    """The event in the first EVENT_BYTES of a buffer; None where there is none."""
    length, version, _, metadata_length, _, fd, tid = _METADATA.unpack_from(record)
    if length == 0:
        return None
    if version != _METADATA_VERSION:
        raise OSError(errno.EPROTO, f"fanotify speaks version {version}, not {_METADATA_VERSION}")
    if length >= metadata_length + _RANGE.size:
        kind, _, _, _, offset, count = _RANGE.unpack_from(record, metadata_length)
        if kind == _INFO_RANGE:
            return Event(fd, tid, offset, count)
    return Event(fd, tid, 0, 0)


def answer(group_fd: int, fd: int, number: int = 0) -> None:
    """Let the access go on, or fail with errno `number`. Nothing when nobody waits any more: the reader was killed."""
    denied = FAN_DENY | (number if number in DENIALS else errno.EIO) << 24
    response = denied if number else FAN_ALLOW
    try:
        os.write(group_fd, _RESPONSE.pack(fd, response))
    except FileNotFoundError:
        pass


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
