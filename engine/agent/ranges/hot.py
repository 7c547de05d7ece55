"""Pages that a mapping may still be storing into, unseen: those that are dirty.

The kernel tells of the first store that makes a clean page dirty, and of no other until the page was written back: it
is write-protected then. So a dirty page of a mapped file is looked at again and again, and is done with when it was
found clean *before* a look. cachestat(2), Linux 6.5 and newer, says which pages are dirty; without it a page counts
as dirty for as long as the kernel lets one be, twice over.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from pathlib import Path

_CACHESTAT = 451
_RANGE = struct.Struct("=QQ")
_COUNTS = struct.Struct("=QQQQQ")
FINE_BYTES = 64 << 10
"""Dirty pages are told apart down to this much."""

SPANS_MAX = 256
_FALLBACK_SECONDS = 35.0
_libc = ctypes.CDLL(None, use_errno=True)


def dirty_pages(fd: int, start: int, end: int) -> int | None:
    """How many pages of an open file are dirty in [start, end); None where the kernel doesn't tell.

    OSError as in cachestat(2).
    """
    counts = ctypes.create_string_buffer(_COUNTS.size)
    if _libc.syscall(_CACHESTAT, fd, _RANGE.pack(start, end - start), counts, 0) < 0:
        number = ctypes.get_errno()
        if number in (errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM):
            return None
        raise OSError(number, os.strerror(number))
    return int(_COUNTS.unpack(counts.raw)[1])


def dirty_spans(fd: int, start: int, end: int) -> list[tuple[int, int]] | None:
    """(start, end) of where dirty pages are, coarsely; None where the kernel doesn't tell."""
    found: list[tuple[int, int]] = []
    waiting = [(start, end)]
    while waiting:
        first, last = waiting.pop()
        count = dirty_pages(fd, first, last)
        if count is None:
            return None
        if not count:
            continue
        if last - first <= FINE_BYTES or len(found) + len(waiting) > SPANS_MAX:
            found.append((first, last))
            continue
        middle = first + (last - first) // 2 // FINE_BYTES * FINE_BYTES or first + FINE_BYTES
        waiting += [(middle, last), (first, middle)]
    return found


def dirty_seconds() -> float:
    """How long a page may stay dirty before the kernel writes it back, twice over, by its settings."""
    try:
        expire, interval = (
            int(Path(f"/proc/sys/vm/dirty_{name}_centisecs").read_text()) for name in ("expire", "writeback")
        )
    except (OSError, ValueError):
        return 2 * _FALLBACK_SECONDS
    return 2 * (expire + interval) / 100
