"""The threads that fill a tree on demand at a source's own place: what they write is what the journal has.

A thread's number is used again once it has ended. So what a number wrote between two looks counts as a fill only if a
thread of the filler had it at both. The kernel's traces know threads by their numbers in the first pid namespace: in
any other nothing is told.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

_FIRST_NAMESPACE = 0xEFFFFFFC
"""PROC_PID_INIT_INO of include/linux/proc_ns.h: the inode of the first pid namespace."""


class Fillers:
    """`processes` tells the pids of the fillers that live now; `there` whether there were any at the last look."""

    def __init__(self, processes: Callable[[], Iterable[int]]) -> None:
        self._processes = processes
        self._comparable = _in_first_namespace()
        self._last: frozenset[int] = frozenset()

    @property
    def there(self) -> bool:
        return bool(self._last)

    def since_last(self) -> frozenset[int]:
        """The threads that were fillers' all the time since this was last asked."""
        if not self._comparable:
            return frozenset()
        before, self._last = self._last, frozenset(each for pid in self._processes() for each in _threads_of(pid))
        return before & self._last

    def close(self) -> None:
        """Nothing is told any more."""
        self._comparable, self._last = False, frozenset()


def _threads_of(pid: int) -> list[int]:
    try:
        return [int(name) for name in os.listdir(f"/proc/{pid}/task")]
    except OSError:
        return []  # it has just ended


def _in_first_namespace() -> bool:
    try:
        return os.stat("/proc/self/ns/pid").st_ino == _FIRST_NAMESPACE
    except OSError:
        return False
