"""Where the extents of a file lie on disk, and what the file system says of each (FIEMAP).

Source: Documentation/filesystems/fiemap.rst.
"""

from __future__ import annotations

import fcntl
import struct

LAST, UNKNOWN, DELAYED, ENCODED, INLINE, UNWRITTEN = 0x1, 0x2, 0x4, 0x8, 0x200, 0x800
"""Flags of an extent (linux/fiemap.h)."""

_FIEMAP = 0xC020660B
_FLAG_SYNC = 1
_HEADER, _EXTENT = struct.Struct("=QQIIII"), struct.Struct("=QQQQQIIII")
_BATCH = 1024
_END = (1 << 63) - 1

Extent = tuple[int, int, int, int]
"""(logical, physical, length, flags), in bytes."""


def extents(fd: int, count_max: int | None = None) -> list[Extent] | None:
    """The extents of an open file, ascending, after its dirty pages were written back; None for more than `count_max`.

    Raises OSError, EOPNOTSUPP or ENOTTY where the file system can't tell.
    """
    found: list[Extent] = []
    start = 0
    buffer = bytearray(_HEADER.size + _BATCH * _EXTENT.size)
    while True:
        _HEADER.pack_into(buffer, 0, start, _END - start, _FLAG_SYNC, 0, _BATCH, 0)
        fcntl.ioctl(fd, _FIEMAP, buffer, True)
        count = _HEADER.unpack_from(buffer)[3]
        for number in range(count):
            logical, physical, length, _, _, flags, *_ = _EXTENT.unpack_from(
                buffer, _HEADER.size + number * _EXTENT.size
            )
            found.append((logical, physical, length, flags))
        if not count or found[-1][3] & LAST:
            return found
        if count_max is not None and len(found) > count_max:
            return None
        start = found[-1][0] + found[-1][2]
