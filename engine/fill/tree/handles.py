"""File handles: an inode found again whatever its names are by now. To open one takes CAP_DAC_READ_SEARCH.

Source: name_to_handle_at(2), open_by_handle_at(2).
"""

from __future__ import annotations

import ctypes
import os
import struct

_AT_EMPTY_PATH, _BYTES_MAX = 0x1000, 128
# struct file_handle: handle_bytes, handle_type, then the bytes
_HEAD = struct.Struct("=Ii")

_libc = ctypes.CDLL(None, use_errno=True)
_libc.name_to_handle_at.argtypes = [
    *(ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(ctypes.c_int), ctypes.c_int),
]
_libc.open_by_handle_at.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int]


def handle_of(fd: int) -> bytes:
    """The handle of an open file (O_PATH will do): never given to another inode of that file system again.

    OSError EOPNOTSUPP on file systems that have none.
    """
    buffer = ctypes.create_string_buffer(_HEAD.pack(_BYTES_MAX, 0), _HEAD.size + _BYTES_MAX)
    mount = ctypes.c_int()
    if _libc.name_to_handle_at(fd, b"", buffer, ctypes.byref(mount), _AT_EMPTY_PATH) < 0:
        raise _failed()
    length, _ = _HEAD.unpack_from(buffer)
    return buffer.raw[: _HEAD.size + length]


def open_handle(mount_fd: int, handle: bytes, flags: int) -> int:
    """A descriptor of the inode, on the mount of `mount_fd` (not O_PATH itself). OSError ESTALE when it is gone."""
    fd = int(_libc.open_by_handle_at(mount_fd, handle, flags | os.O_CLOEXEC))
    if fd < 0:
        raise _failed()
    return fd


def _failed() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
