"""Make a written tree durable, and drop it from memory so that what is read next comes from the disk."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable

from engine.model.errors import Failed
from engine.tree.paths import shown

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syncfs.argtypes = [ctypes.c_int]


def sync(directory: bytes) -> None:
    """All that was written below a directory of one file system is on its disk afterwards (syncfs(2)).

    Failed when the disk did not take it: then nobody knows what is there. Errors are told since Linux 5.8.
    """
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _libc.syncfs(fd):
            number = ctypes.get_errno()
            raise Failed(
                f"what was written below {shown(directory)} did not reach the disk: {os.strerror(number)}",
                hint="look at the disk and the kernel's log, then restore again to another directory",
                details={"errno": number},
            )
    finally:
        os.close(fd)


def sync_all(directories: Iterable[bytes]) -> None:
    """`sync` each of the file systems that these directories are on, once."""
    devices: dict[int, bytes] = {}
    for directory in directories:
        devices.setdefault(os.stat(directory).st_dev, directory)
    for directory in devices.values():
        sync(directory)


def drop_pages(fd: int) -> None:
    """Forget what memory holds of a file that was synced. A hint: a file system without pages has nothing to drop."""
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
