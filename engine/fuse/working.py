"""Threads that take requests off the device and keep each in the mount's memory until it is answered.

Who takes over a mount from a server that died goes on with what that one had begun: what the kernel asks again
(FUSE_NOTIFY_RESEND, Linux 6.9), or what lies in the memory's slots and still has someone waiting for it. Such a request
may have been carried out already: the file system is told so.
"""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from engine.fuse import protocol as fuse
from engine.fuse import requests
from engine.fuse.memory import SLOTS, Memory
from engine.fuse.protocol import Request

THREADS = 4
_CLONE_FS, _PR_SET_IO_FLUSHER = 0x200, 57
_NOT_ANSWERED = fuse.UNANSWERED
_MAY_WAIT = frozenset(
    {fuse.READ, fuse.SETATTR, fuse.LSEEK, fuse.LOOKUP, fuse.GETATTR, fuse.READDIRPLUS}
    | {requests.WRITE, requests.FSYNC, requests.FALLOCATE, requests.COPY_FILE_RANGE}
)
"""What may take as long as contents are away: another thread must be there for everybody else."""

_libc = ctypes.CDLL(None, use_errno=True)

Data = bytes | bytearray | memoryview


class Answers(Protocol):
    """A file system. OSError is what there is to say; called by several threads at once."""

    def answer(self, request: Request, again: bool) -> Data:
        """`again`: the request was read before by someone who died, and may have been carried out."""
        ...

    def unanswered(self, request: Request) -> None:
        """Something that is told and not asked."""
        ...

    def undelivered(self, request: Request, data: Data) -> None:
        """Nobody waited for this answer any more."""
        ...


class Working:
    """The threads of one mount. Whoever holds the descriptor and the memory may stop and another go on."""

    def __init__(self, fd: int, memory: Memory, answers: Answers, on_fault: Callable[[BaseException], None]) -> None:
        self._fd, self._memory, self._answers, self._on_fault = fd, memory, answers, on_fault
        self._threads: list[threading.Thread] = []
        self._idle: set[int] = set()
        self._paused = False
        self._resumed = threading.Condition()
        self._growing = threading.Lock()
        self._ended = threading.Event()

    def start(self) -> None:
        """Begin, with what a predecessor left in the memory first."""
        left = [number for number in range(SLOTS) if self._memory.left(number) is not None]
        for _ in range(max([THREADS, *(number + 1 for number in left)])):
            self._one_more()

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Wait until the mount has gone; whether it has."""
        return self._ended.wait(timeout_seconds)

    def _one_more(self) -> None:
        with self._growing:
            number = len(self._threads)
            if number >= SLOTS:
                return  # everybody else waits until one of so many is answered
            thread = threading.Thread(target=self._run, args=[number], name=f"fuse {number}", daemon=True)
            self._threads.append(thread)
            self._idle.add(number)
            thread.start()

    def _run(self, number: int) -> None:
        _libc.unshare(_CLONE_FS)  # a umask of its own: each caller has his
        # Memory for an answer must not be waited for until this mount has written something back (prctl(2)); as root.
        _libc.prctl(_PR_SET_IO_FLUSHER, 1, 0, 0, 0)
        left = self._memory.left(number)
        slot = self._memory.slot(number)
        if left is not None:
            self._idle.discard(number)
            if self._has_waiter(fuse.read_request(left)):
                self._serve(fuse.read_request(left), True)
            self._idle.add(number)
        # A page that is not there yet takes the kernel's long road, on which a thread that is killed makes it answer
        # EIO: a write has many of them.
        self._memory.populate(number)
        self._memory.done(slot)
        while (count := self._take(slot)) is not None:
            self._begun(number)
            request = fuse.read_request(slot[:count])
            if not self._idle and request.opcode in _MAY_WAIT:
                self._one_more()
            self._serve(request, bool(request.unique & requests.RESENT))
            self._memory.done(slot)
            self._idle.add(number)
        self._ended.set()

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Nothing is answered meanwhile; what is being answered is waited for. Not from a thread that answers."""
        with self._resumed:
            self._paused = True
            while len(self._idle) < len(self._threads):
                self._resumed.wait(0.001)
            try:
                yield
            finally:
                self._paused = False
                self._resumed.notify_all()

    def _begun(self, number: int) -> None:
        self._idle.discard(number)
        while self._paused:
            self._idle.add(number)
            with self._resumed:
                pass
            self._idle.discard(number)

    def _take(self, slot: memoryview) -> int | None:
        while True:
            try:
                return os.readv(self._fd, [slot])
            except OSError as error:
                if error.errno in (errno.ENODEV, errno.EBADF):
                    return None  # unmounted
                # fuse(4): ENOENT is a request that was interrupted before it was read
                if error.errno not in (errno.EINTR, errno.ENOENT, errno.EAGAIN):
                    raise

    def _has_waiter(self, request: Request) -> bool:
        try:
            os.write(self._fd, requests.still_waiting(request.unique))
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENODEV):
                return False
            raise
        return True

    def _serve(self, request: Request, again: bool) -> None:
        data: Data = b""
        number = 0
        try:
            if request.opcode in _NOT_ANSWERED:
                self._answers.unanswered(request)
                return
            data = self._answers.answer(request, again)
        except OSError as error:
            number = error.errno or errno.EIO
        except Exception as error:  # a fault of ours must not take the mount, and with it its users, away
            number = errno.EIO
            self._on_fault(error)
        try:
            if number:
                os.write(self._fd, fuse.answer(request.unique, 0, number))
            else:
                os.writev(self._fd, [fuse.answer(request.unique, len(data)), data])
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV):
                raise
            if not number:  # the asker, or the mount, has gone
                self._answers.undelivered(request, data)
