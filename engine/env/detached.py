"""Mounts that have no place in the tree: seen by nobody, gone with their descriptor.

Sources: fsopen(2), fsconfig(2), fsmount(2), open_tree(2) of Linux 5.2 and newer.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping

# The same numbers on every architecture, as of all system calls since Linux 5.0.
_OPEN_TREE, _FSOPEN, _FSCONFIG, _FSMOUNT = 428, 430, 431, 432
_AT_FDCWD, _OPEN_TREE_CLONE = -100, 1
_SET_FLAG, _SET_STRING, _CREATE = 0, 1, 6
_CLOEXEC = 1
RDONLY, NOSUID, NODEV, NOEXEC = 1, 2, 4, 8

_libc = ctypes.CDLL(None, use_errno=True)


def mount(kind: bytes, options: Mapping[bytes, bytes | None], attributes: int = 0) -> int:
    """A descriptor (O_PATH) of the root of a new mount; an option without a value is a flag. OSError: not allowed,
    not known to this kernel, not that kind of file system."""
    context = _call(_FSOPEN, ctypes.c_char_p(kind), ctypes.c_uint(_CLOEXEC))
    try:
        for name, value in options.items():
            _configure(context, _SET_FLAG if value is None else _SET_STRING, name, value)
        _configure(context, _CREATE, None, None)
        return _call(_FSMOUNT, ctypes.c_int(context), ctypes.c_uint(_CLOEXEC), ctypes.c_uint(attributes))
    finally:
        os.close(context)


def clone(directory: bytes) -> int:
    """A descriptor (O_PATH) of a mount of its own of what is in a directory now, mounts below it left out. OSError."""
    flags = ctypes.c_uint(_OPEN_TREE_CLONE | os.O_CLOEXEC)
    return _call(_OPEN_TREE, ctypes.c_int(_AT_FDCWD), ctypes.c_char_p(directory), flags)


def _configure(context: int, command: int, key: bytes | None, value: bytes | None) -> None:
    _call(
        _FSCONFIG,
        *(ctypes.c_int(context), ctypes.c_uint(command), ctypes.c_char_p(key), ctypes.c_char_p(value)),
        ctypes.c_int(0),
    )


def _call(number: int, *arguments: object) -> int:
    result = int(_libc.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
