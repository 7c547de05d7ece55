"""Contents through the mount: read, written, allocated, copied, synced. What is cold is asked for first.

A write asks too: it may touch a part of a block. Afterwards all of its range is as it should be, so no fill comes after
it; and while it goes on no fill puts the file's times back.
"""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from contextlib import nullcontext
from typing import Any

from engine.fill.by_fuse.attributes import drop_privileges
from engine.fill.by_fuse.behind import Behind
from engine.fill.by_fuse.opened import OpenFile
from engine.fuse import protocol as fuse
from engine.fuse import requests
from engine.fuse.protocol import Request
from engine.tree.extents import extents
from engine.tree.sparse import data_ranges

_KEEP_SIZE, _PUNCH_HOLE, _ZERO_RANGE = 0x1, 0x2, 0x10
_COPY_MAX = 16 << 20
"""So much of a cold file is copied by one request: nobody shall wait long for one answer."""
_ZEROS = bytes(1 << 20)
_CANT_TELL = (errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.ENOSYS)

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
_buffers = threading.local()


def read(behind: Behind, request: Request) -> memoryview:
    """READ."""
    handle, offset, size = fuse.read_of(request.body)
    file = behind.files.get(handle)
    if file.number is not None:
        _ensure(behind, request, file, offset, size, reading=True)
    room = _buffer()[:size]
    done = os.preadv(file.fd, [room], offset)
    return room[:done]


def write(behind: Behind, request: Request) -> bytes:
    """WRITE."""
    handle, offset, flags, data = requests.write_of(request.body)
    file = behind.files.get(handle)
    with _ready(behind, request, file, offset, len(data)):
        done = os.pwrite(file.fd, data, offset)
        if flags & requests.WRITE_KILL_SUIDGID:
            drop_privileges(file.held, request.gid)
    return requests.written(done)


def sync(behind: Behind, request: Request) -> bytes:
    """FSYNC."""
    handle, flags = requests.fsync_of(request.body)
    file = behind.files.get(handle)
    (os.fdatasync if flags & requests.DATASYNC else os.fsync)(file.fd)
    return b""


def sync_directory(behind: Behind, request: Request) -> bytes:
    """FSYNCDIR."""
    fd = behind.nodes.open_directory(request.node)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    return b""


def allocate(behind: Behind, request: Request) -> bytes:
    """FALLOCATE. In a cold file zeros are written, not only promised: after a power cut a range that is allocated and
    not written is taken for a cold one."""
    handle, offset, length, mode = requests.fallocate_of(request.body)
    file = behind.files.get(handle)
    with _ready(behind, request, file, offset, length):
        if file.number is not None and not mode & _PUNCH_HOLE:
            size = os.fstat(file.fd).st_size
            end = min(offset + length, max(size, behind.fills.file(file.number).size))
            if mode & _ZERO_RANGE:
                _write_zeros(file.fd, offset, min(end, size))
            else:
                _write_zeros_in_holes(file.fd, offset, min(end, size))
            if end == offset + length and end <= size:
                return b""
            mode &= ~_ZERO_RANGE
        if _libc.fallocate(file.fd, mode, offset, length) < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    return b""


def seek(behind: Behind, request: Request) -> bytes:
    """LSEEK: where data begins, or a hole. What is cold is data: allocated, if not written yet."""
    handle, offset, whence = requests.lseek_of(request.body)
    file = behind.files.get(handle)
    number = _cold(behind, file)
    at = os.lseek(file.fd, offset, whence) if number is None else _seek_cold(file.fd, offset, whence)
    return requests.sought(at)


def copy(behind: Behind, request: Request) -> bytes:
    """COPY_FILE_RANGE; copies less than it is asked for where much is cold."""
    handle, offset, _, handle_to, offset_to, length = requests.copy_of(request.body)
    source, target = behind.files.get(handle), behind.files.get(handle_to)
    length = max(0, min(length, os.fstat(source.fd).st_size - offset))
    if _cold(behind, source) is not None or _cold(behind, target) is not None:
        length = min(length, _COPY_MAX)
        if length:
            _ensure(behind, request, source, offset, length)
    if not length:
        return requests.written(0)
    with _ready(behind, request, target, offset_to, length):
        done = os.copy_file_range(source.fd, target.fd, length, offset, offset_to)
    return requests.written(done)


def _cold(behind: Behind, file: OpenFile) -> int | None:
    if file.number is not None:
        file.number = behind.cold(file.node)
    return file.number


def _ensure(behind: Behind, request: Request, file: OpenFile, offset: int, length: int, reading: bool = False) -> None:
    number = _cold(behind, file)
    if number is not None:
        size = os.fstat(file.fd).st_size
        if not behind.fills.ready(number, offset, length, size, reading):
            with behind.waiting.of(request):
                behind.fills.ensure(number, offset, length, size, reading)


def _ready(behind: Behind, request: Request, file: OpenFile, offset: int, length: int) -> Any:
    """A context in which a range may be written: all there, and no fill at this file."""
    if _cold(behind, file) is None or not length:
        return nullcontext()
    _ensure(behind, request, file, offset, length)
    return nullcontext() if file.number is None else behind.fills.window(file.number)


def _buffer() -> memoryview:
    """This thread's room for what is read."""
    if not hasattr(_buffers, "room"):
        _buffers.room = memoryview(bytearray(fuse.READ_BYTES_MAX))
    room: memoryview = _buffers.room
    return room


def _write_zeros(fd: int, offset: int, end: int) -> None:
    while offset < end:
        offset += os.pwrite(fd, _ZEROS[: end - offset], offset)


def _write_zeros_in_holes(fd: int, offset: int, end: int) -> None:
    at = offset
    for begins, length in [*data_ranges(fd, end, offset), (end, 0)] if end > offset else []:
        _write_zeros(fd, at, begins)
        at = max(at, begins + length)


def _seek_cold(fd: int, offset: int, whence: int) -> int:
    size = os.fstat(fd).st_size
    if not 0 <= offset < size:
        raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))
    try:
        known = extents(fd) or []
    except OSError as error:
        if error.errno not in _CANT_TELL:
            raise
        known = [(0, 0, size, 0)]
    at = offset
    for begins, _, length, _ in known:
        if begins + length <= at:
            continue
        if whence == os.SEEK_DATA:
            at = max(at, begins)
            break
        if begins > at:
            break
        at = begins + length
    else:
        if whence == os.SEEK_DATA:
            at = size
    if whence == os.SEEK_DATA and at >= size:
        raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))
    return min(at, size)
