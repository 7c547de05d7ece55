"""Rename that replaces nothing, or exchanges two names in one step (renameat2(2), Linux 3.15)."""

from __future__ import annotations

import ctypes
import errno
import os

_AT_FDCWD = -100
_NOREPLACE, _EXCHANGE = 1, 2
_libc = ctypes.CDLL(None, use_errno=True)
_libc.renameat2.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]


def rename_new(old: bytes, new: bytes) -> None:
    """Rename; FileExistsError when something bears the new name. Raises OSError."""
    try:
        _rename(old, new, _NOREPLACE)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS):
            raise
        if os.path.lexists(new):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new) from None
        os.rename(old, new)


def exchange(one: bytes, other: bytes) -> None:
    """Each gets the other's name, in one step. Raises OSError; EINVAL where the file system can't."""
    _rename(one, other, _EXCHANGE)


def _rename(old: bytes, new: bytes, flags: int) -> None:
    if _libc.renameat2(_AT_FDCWD, old, _AT_FDCWD, new, flags):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), new)
