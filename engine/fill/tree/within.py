"""Write into a file without ever making it longer, whoever cuts it at the same moment.

A pwrite(2) that meets a truncation makes the file as long as it was, with old bytes in it, and no look before or after
can tell. So the bytes are stored into a shared mapping, by a system call: behind the file's end it stops there
(EFAULT), where a plain store would be a SIGBUS. Pages are made and changed under the file system's own locks.
"""

from __future__ import annotations

import errno
import mmap
import os
import threading

_STAGE_BYTES = 1 << 20
_held = threading.local()


def write_within(fd: int, offset: int, data: bytes | bytearray | memoryview) -> int:
    """Store `data` at byte `offset` of a file open for reading and writing; how many bytes of it lay inside the file.

    Fewer than given means that the file ends there, or ended there for a moment: look at its size. Raises OSError.
    """
    view = memoryview(data).cast("B")
    done = 0
    while done < len(view):
        part = view[done : done + _STAGE_BYTES]
        stored = _store(fd, offset + done, part)
        done += stored
        if stored < len(part):
            break
    return done


def _store(fd: int, offset: int, part: memoryview) -> int:
    skip = offset % mmap.ALLOCATIONGRANULARITY
    size = os.fstat(fd).st_size
    length = min(len(part), size - offset)
    if length <= 0:
        return 0
    stage = _stage()
    os.pwrite(stage, part[:length], 0)
    try:
        mapped = mmap.mmap(fd, skip + length, offset=offset - skip)
    except ValueError:  # cut since the look at its size
        return 0
    with mapped, memoryview(mapped) as whole, whole[skip:] as target:
        try:
            return os.preadv(stage, [target], 0)
        except OSError as error:
            if error.errno != errno.EFAULT:
                raise
            return 0


def _stage() -> int:
    """A nameless file in memory, of this thread, from which the bytes are copied."""
    if not hasattr(_held, "fd"):
        _held.fd = os.memfd_create("fill", os.MFD_CLOEXEC)
    return int(_held.fd)
