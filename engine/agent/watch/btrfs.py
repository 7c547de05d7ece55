"""The top of a btrfs of which only a subvolume is mounted, held for a moment, so that the whole can be marked.

fanotify_mark(2) refuses a mark on a file system from below a subvolume (EXDEV). A mount of the top (subvolid=5) that is
attached nowhere serves: nobody sees it, and once the mark is set it may go; the mark stays with the file system.
Sources: fsopen(2), fsconfig(2), fsmount(2) of Linux 5.2 and newer; btrfs(5), "subvolid".
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from engine.agent.watch.mounts import Mount, mount_table, mount_with

# The same numbers on every architecture, as of all system calls since Linux 5.0.
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
_FSCONFIG_SET_FLAG, _FSCONFIG_SET_STRING, _FSCONFIG_CMD_CREATE = 0, 1, 6
_CLOEXEC = 1
_MOUNT_ATTR_RDONLY, _MOUNT_ATTR_NOSUID, _MOUNT_ATTR_NODEV, _MOUNT_ATTR_NOEXEC = 1, 2, 4, 8
_TOP = b"5"
"""The id of the subvolume that every btrfs begins with."""

_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def top_of(mount_id: int) -> Iterator[int]:
    """A descriptor (O_PATH) of the top directory of the btrfs that is mounted under this number.

    OSError EXDEV, as without all this, when that is no btrfs or its top can't be mounted: an old kernel, a container,
    a device that can't be seen from here.
    """
    mount = mount_with(mount_id, mount_table())
    try:
        if mount is None or mount.type != b"btrfs":
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        fd = _mounted(mount)
    except OSError as error:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV)) from error
    try:
        yield fd
    finally:
        os.close(fd)


def _mounted(mount: Mount) -> int:
    context = _call(_FSOPEN, ctypes.c_char_p(b"btrfs"), ctypes.c_uint(_CLOEXEC))
    try:
        _configure(context, _FSCONFIG_SET_STRING, b"source", mount.source)
        _configure(context, _FSCONFIG_SET_STRING, b"subvolid", _TOP)
        if mount.read_only:  # another answer than the file system's own would change that of all its mounts
            _configure(context, _FSCONFIG_SET_FLAG, b"ro", None)
        _configure(context, _FSCONFIG_CMD_CREATE, None, None)
        attributes = _MOUNT_ATTR_RDONLY | _MOUNT_ATTR_NOSUID | _MOUNT_ATTR_NODEV | _MOUNT_ATTR_NOEXEC
        return _call(_FSMOUNT, ctypes.c_int(context), ctypes.c_uint(_CLOEXEC), ctypes.c_uint(attributes))
    finally:
        os.close(context)


def _configure(context: int, command: int, key: bytes | None, value: bytes | None) -> None:
    given = (ctypes.c_int(context), ctypes.c_uint(command), ctypes.c_char_p(key), ctypes.c_char_p(value))
    _call(_FSCONFIG, *given, ctypes.c_int(0))


def _call(number: int, *arguments: object) -> int:
    result = int(_libc.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
