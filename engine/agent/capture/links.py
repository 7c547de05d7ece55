"""Files with several names: each is watched itself, since it may be written to through one that lies elsewhere."""

from __future__ import annotations

import contextlib
import os

from engine.agent.capture.pending import Where
from engine.agent.watch.base import Watcher


class Links:
    """Which names are watched as links. One thread uses it."""

    def __init__(self, watcher: Watcher) -> None:
        self.watcher = watcher
        self._names: set[Where] = set()

    def __contains__(self, where: Where) -> bool:
        return where in self._names

    def watch(self, where: Where, at: bytes, fd: int | None, status: os.stat_result) -> bool:
        """Watch the file at a name if it has several; whether this name is new among those.

        To be called before its content is read: what is written after that must show. Each time, since another file
        may have taken the name, and its number even. `at` is relative to the directory's descriptor `fd`, where there
        is one: the directory may be elsewhere by now.
        """
        if status.st_nlink <= 1:
            self.end(where)
            return False
        with contextlib.suppress(FileNotFoundError):
            self.watcher.add_file(*where, at if fd is None else b"/proc/self/fd/%d/%b" % (fd, at))
            new = where not in self._names
            self._names.add(where)
            return new
        return False

    def end(self, where: Where) -> None:
        """The name leads to no file with several names any more. One that is not watched is fine."""
        if where in self._names:
            self._names.discard(where)
            self.watcher.remove_file(*where)

    def forget(self, names: set[Where]) -> None:
        """These are not watched yet."""
        self._names -= names
