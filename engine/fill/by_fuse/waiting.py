"""Who waits for contents and is killed meanwhile: he is let go at once, whenever the contents come.

The kernel keeps a caller until his request is answered, even one that was killed. Other signals must not end a read of
a file, so they are no reason to answer.
"""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from engine.fuse import protocol as fuse
from engine.fuse.protocol import Request

LOOK_SECONDS = 0.25
_KILLED = 1 << (signal.SIGKILL - 1)


class Waiting:
    """All that wait at one mount; `device` is where answers go."""

    def __init__(self, device: int) -> None:
        self._device = device
        self._waiting: dict[int, int] = {}
        self._let_go: set[int] = set()
        self._some = threading.Event()
        threading.Thread(target=self._watch, name="killed callers", daemon=True).start()

    @contextmanager
    def of(self, request: Request) -> Iterator[None]:
        """While a request waits. OSError EINTR afterwards when the caller was killed: nothing is done for him then."""
        self._waiting[request.unique] = request.pid
        self._some.set()
        try:
            yield
        finally:
            del self._waiting[request.unique]
        if request.unique in self._let_go:
            self._let_go.discard(request.unique)
            raise OSError(errno.EINTR, os.strerror(errno.EINTR))

    def _watch(self) -> None:
        pause = threading.Event()
        while True:
            self._some.wait()
            self._some.clear()
            while self._waiting:
                pause.wait(LOOK_SECONDS)
                for unique, pid in list(self._waiting.items()):
                    if unique not in self._let_go and _is_killed(pid):
                        self._let_go.add(unique)
                        with suppress(OSError):  # answered meanwhile
                            os.write(self._device, fuse.answer(unique, 0, errno.EINTR))


def _is_killed(pid: int) -> bool:
    """Whether a thread has SIGKILL pending (proc(5), SigPnd)."""
    try:
        told = Path(f"/proc/{pid}/status").read_bytes()
    except OSError:
        return False
    for line in told.splitlines():
        if line.startswith((b"SigPnd:", b"ShdPnd:")) and int(line.split()[1], 16) & _KILLED:
            return True
    return False
