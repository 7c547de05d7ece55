"""One thread at a time takes requests off the device, and answers at once what needs nothing but memory.

Threads that all wait for the next request hand the interpreter round at every one. So one waits alone, and answers what
it gets; before anything that may take long it passes the turn on.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Turn:
    """Held by the thread that takes requests. Safe for several threads; `pass_on` harms nobody who does not hold it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holder = 0

    def take(self) -> None:
        """Wait until no other thread has it."""
        me = threading.get_ident()
        if self._holder != me:
            self._lock.acquire()
            self._holder = me

    def pass_on(self) -> None:
        """Let another thread take requests: what this one does now may take long."""
        if self._holder == threading.get_ident():
            self._holder = 0
            self._lock.release()

    @contextmanager
    def passed_on_for(self, lock: threading.Lock) -> Iterator[None]:
        """Within it `lock` is held, which others may hold for long."""
        if not lock.acquire(blocking=False):
            self.pass_on()
            lock.acquire()
        try:
            yield
        finally:
            lock.release()
