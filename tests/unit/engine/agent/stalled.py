"""A write that stops half way, inside its system call, until it is let go on: its bytes come from memory that isn't
there yet, and this process serves the faults (userfaultfd(2), linux/userfaultfd.h)."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

_USERFAULTFD = 323  # x86_64
_UFFDIO_API, _UFFDIO_REGISTER, _UFFDIO_COPY = 0xC018AA3F, 0xC020AA00, 0xC028AA03
_API, _MISSING = 0xAA, 1


@contextmanager
def stalled_write(fd: int, content: bytes) -> Iterator[Callable[[], None]]:
    """A pwrite of `content`, whole pages, to the beginning of `fd`, with half of it done; gives what finishes it.

    Whoever leaves without that finishes it too.
    """
    faults = ctypes.CDLL(None, use_errno=True).syscall(_USERFAULTFD, os.O_CLOEXEC)
    if faults < 0 or os.uname().machine != "x86_64":
        pytest.skip("this machine has no userfaultfd(2)")
    half = len(content) // 2
    memory = mmap.mmap(-1, len(content), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    memory[:half] = content[:half]
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    fcntl.ioctl(faults, _UFFDIO_API, bytearray(struct.pack("=QQQ", _API, 0, 0)))
    fcntl.ioctl(faults, _UFFDIO_REGISTER, bytearray(struct.pack("=QQQQ", address + half, half, _MISSING, 0)))
    writer = threading.Thread(target=os.pwrite, args=(fd, memory, 0))

    def finish() -> None:
        if writer.is_alive():
            rest = ctypes.create_string_buffer(content[half:], half)
            copy = struct.pack("=QQQQq", address + half, ctypes.addressof(rest), half, 0, 0)
            fcntl.ioctl(faults, _UFFDIO_COPY, bytearray(copy))
            writer.join()

    writer.start()
    try:
        os.read(faults, 32)  # the fault: half of it is written
        yield finish
    finally:
        finish()
        os.close(faults)
