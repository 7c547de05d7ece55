"""Serving a read-only file system: requests from the device, answers of a `Filesystem`, by a few threads.

What a file system raises as OSError is the caller's errno; anything else it raises is EIO there and one call of
`on_fault`, and the mount goes on.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from typing import Protocol

from engine.fuse import protocol as fuse
from engine.fuse import requests
from engine.fuse.protocol import Request
from engine.fuse.taking import Taking
from engine.fuse.turns import Turn

THREADS = 4
_FLAGS = (
    fuse.ASYNC_READ
    | fuse.EXPORT_SUPPORT
    | fuse.DO_READDIRPLUS
    | fuse.READDIRPLUS_AUTO
    | fuse.PARALLEL_DIROPS
    | fuse.POSIX_ACL
    | fuse.MAX_PAGES
    | fuse.NO_OPEN_SUPPORT
)


Data = bytes | list[memoryview]


class Filesystem(Protocol):
    """A read-only tree of nodes, numbers of 64 bits; 1 is the root. Nodes are never forgotten: a number means the same
    for as long as the mount lasts. OSError says what there is to say. Called by several threads at once."""

    @property
    def turn(self) -> Turn:
        """Passed on before anything that may take long."""
        ...

    def lookup(self, parent: int, name: bytes) -> bytes:
        """`protocol.entry` of a name; ENOENT. `.` and `..` are names too: an NFS server asks for them."""
        ...

    def attributes(self, node: int) -> bytes:
        """`protocol.attributes_out`; ESTALE for a number that means nothing."""
        ...

    def readlink(self, node: int) -> bytes: ...

    def listing(self, node: int, offset: int, size: int, plus: bool) -> bytes:
        """At most `size` bytes of dirents from `offset` on, with `plus` each behind its entry; empty at the end."""
        ...

    def cacheable(self, node: int) -> bool:
        """Whether the kernel may keep this directory's listing."""
        ...

    def read(self, node: int, offset: int, size: int) -> list[memoryview]:
        """`size` bytes of a file, in as many parts as writev(2) takes, fewer bytes at its end only."""
        ...

    def seek(self, node: int, offset: int, whence: int) -> int:
        """Where data (os.SEEK_DATA) or a hole (os.SEEK_HOLE) is next in a file; ENXIO as lseek(2) has it."""
        ...

    def xattr(self, node: int, name: bytes) -> bytes:
        """One value; ENODATA."""
        ...

    def xattr_names(self, node: int) -> bytes:
        """Names, each with a zero byte behind it."""
        ...

    def blocks(self) -> tuple[int, int]:
        """(blocks of 4 KiB, nodes) that df(1) shows."""
        ...


class Serving:
    """Threads that answer until the mount goes. `fd` is theirs."""

    def __init__(self, fd: int, filesystem: Filesystem, on_fault: Callable[[BaseException], None]) -> None:
        self._fd, self._filesystem, self._on_fault = fd, filesystem, on_fault
        self._taking = Taking(fd)
        self._threads = [threading.Thread(target=self._run, name=f"fuse {n}", daemon=True) for n in range(THREADS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Wait until the mount has gone; whether it has."""
        for thread in self._threads:
            thread.join(timeout_seconds)
        return not any(thread.is_alive() for thread in self._threads)

    def close(self) -> None:
        """Give the device back, once the mount has gone."""
        os.close(self._fd)

    def _run(self) -> None:
        buffer = bytearray(fuse.REQUEST_BYTES_MAX)
        view = memoryview(buffer)
        try:
            self._serve(buffer, view)
        finally:
            self._filesystem.turn.pass_on()

    def _serve(self, buffer: bytearray, view: memoryview) -> None:
        turn = self._filesystem.turn
        while True:
            turn.take()
            try:
                count = self._taking.read(buffer)
            except OSError as error:
                if error.errno in (errno.ENODEV, errno.EBADF):
                    return  # unmounted
                if error.errno in (errno.EINTR, errno.ENOENT, errno.EAGAIN):
                    continue  # fuse(4): ENOENT is a request that was interrupted before it was read
                raise
            request = fuse.read_request(view[:count])
            if request.opcode not in fuse.UNANSWERED:
                self._answer(request)

    def _answer(self, request: Request) -> None:
        data: Data = b""
        number = 0
        try:
            data = answer(self._filesystem, request)
        except OSError as error:
            number = error.errno or errno.EIO
        except Exception as error:  # a fault of ours must not take the mount, and with it its readers, away
            number = errno.EIO
            self._on_fault(error)
        try:
            if number:
                os.write(self._fd, fuse.answer(request.unique, 0, number))
            elif isinstance(data, bytes):
                os.write(self._fd, fuse.answer(request.unique, len(data)) + data)
            else:
                os.writev(self._fd, [fuse.answer(request.unique, sum(map(len, data))), *data])
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV):  # the asker, or the mount, has gone
                raise


def answer(filesystem: Filesystem, request: Request) -> Data:
    """What a file system says to a request. OSError, ENOSYS for what is not asked again."""
    opcode, node, body = request.opcode, request.node, request.body
    if opcode == fuse.READ:
        _, offset, size = fuse.read_of(body)
        return filesystem.read(node, offset, size)
    if opcode == fuse.LOOKUP:
        return filesystem.lookup(node, fuse.name_of(body))
    if opcode in (fuse.READDIRPLUS, fuse.READDIR):
        _, offset, size = fuse.read_of(body)
        return filesystem.listing(node, offset, size, opcode == fuse.READDIRPLUS)
    if opcode == fuse.GETATTR:
        return filesystem.attributes(node)
    if opcode == fuse.OPENDIR:
        kept = fuse.OPEN_KEEP_CACHE | fuse.OPEN_CACHE_DIR
        return fuse.opened(0, kept if filesystem.cacheable(node) else 0)
    return _seldom(filesystem, request)


def _seldom(filesystem: Filesystem, request: Request) -> bytes:
    opcode, node, body = request.opcode, request.node, request.body
    if opcode in (fuse.RELEASEDIR, fuse.DESTROY):
        return b""
    if opcode == fuse.READLINK:
        return filesystem.readlink(node)
    if opcode == fuse.GETXATTR:
        size, name = fuse.xattr_of(body)
        return _fitting(size, filesystem.xattr(node, name))
    if opcode == fuse.LISTXATTR:
        size, _ = fuse.xattr_of(body)
        return _fitting(size, filesystem.xattr_names(node))
    if opcode == fuse.LSEEK:
        _, offset, whence = requests.lseek_of(body)
        return requests.sought(filesystem.seek(node, offset, whence))
    if opcode == fuse.STATFS:
        return fuse.statfs(*filesystem.blocks())
    if opcode == fuse.INIT:
        major, _, ahead, flags = fuse.wanted(body)
        if major != fuse.KERNEL_VERSION:
            raise OSError(errno.EPROTO, f"the kernel speaks FUSE {major}")
        return fuse.agreed(ahead, flags & _FLAGS)
    # Without OPEN the kernel reads at once, and keeps what it has read: nothing here ever changes.
    raise OSError(errno.EROFS if opcode in fuse.WRITES else errno.ENOSYS, "not served")


def _fitting(room: int, value: bytes) -> bytes:
    """A value that is asked for its length first (room 0), then for itself."""
    if not room:
        return fuse.xattr_size(len(value))
    if len(value) > room:
        raise OSError(errno.ERANGE, os.strerror(errno.ERANGE))
    return value
