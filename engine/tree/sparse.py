"""Where a file has data and where it has holes, and making holes (lseek(2), fallocate(2))."""

from __future__ import annotations

import ctypes
import errno
import os

_KEEP_SIZE, _PUNCH_HOLE = 1, 2
_ZEROS = bytes(1 << 20)
_NO_SUCH_QUESTION = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)
_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


def data_ranges(fd: int, size: int, start: int = 0) -> list[tuple[int, int]]:
    """(offset, length) of each range of data from `start` on in the first `size` bytes of an open file, ascending.

    What lies between is a hole and reads as zeros. A file system that cannot tell answers with one range.
    A file that shrank meanwhile ends where it ends now. Moves the file offset; raises OSError.
    """
    ranges: list[tuple[int, int]] = []
    at = start
    while at < size:
        try:
            if at == start and os.lseek(fd, at, os.SEEK_HOLE) >= size:
                return [(at, size - at)]  # nearly every file is without holes: one question tells
            begins = os.lseek(fd, at, os.SEEK_DATA)
            ends = os.lseek(fd, begins, os.SEEK_HOLE) if begins < size else begins
        except OSError as error:
            if error.errno == errno.ENXIO:  # no data from here to the end
                break
            if error.errno in _NO_SUCH_QUESTION:
                return [(start, size - start)]
            raise
        if begins >= size:
            break
        ranges.append((begins, min(ends, size) - begins))
        at = ends
    return ranges


def make_hole(fd: int, offset: int, length: int) -> None:
    """Bytes [offset, offset+length) read as zeros and take no space where the file system can; never changes the size.

    Elsewhere zeros are written, up to the file's end. Raises OSError.
    """
    if length <= 0:
        return
    if _libc.fallocate(fd, _KEEP_SIZE | _PUNCH_HOLE, offset, length) == 0:
        return
    number = ctypes.get_errno()
    if number not in (errno.ENOTSUP, errno.ENOSYS):
        raise OSError(number, os.strerror(number))
    end = min(offset + length, os.fstat(fd).st_size)
    while offset < end:
        offset += os.pwrite(fd, _ZEROS[: end - offset], offset)
