"""The record's write-ahead log, made durable apart from being written: who captures need not wait for the disk.

SQLite, told to sync as little as is safe (`synchronous = NORMAL`), writes each commit to the log and syncs only what a
checkpoint needs. A commit is durable once the log was synced after it; one sync serves all that were written before.
Source: sqlite.org/wal.html and its pragma of that name.
"""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

from engine.env import durable
from engine.env.crash import crash


class WriteAhead:
    """The log beside one database. `written` is for the thread that commits, `sync` for any."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(database.name + "-wal")
        self._lock = threading.Lock()
        self._fd = -1
        self._written = self._wanted = self._durable = 0
        self._failed: OSError | None = None
        self._closed = False

    @property
    def behind(self) -> bool:
        """Whether a commit that is to be durable is not known to be."""
        return self._durable < self._wanted

    def written(self, *, lazily: bool = False) -> int:
        """A commit has just been made: its number. `lazily`: nobody will ask for it to be durable."""
        self._written += 1
        if not lazily:
            self._wanted = self._written
        return self._written

    def sync(self, number: int) -> None:
        """Return once the commit with this number is durable. OSError when it can't be made so, and ever after: what
        a failed sync has left on the disk, nobody can say (fsync(2))."""
        if number <= self._durable:
            return
        with self._lock:
            if number <= self._durable:
                return  # another thread's sync came after it
            if self._failed is not None or self._closed:
                raise self._failed or OSError(errno.EBADF, "the record is closed")
            written = self._written
            try:
                self._open()
                os.fdatasync(self._fd)
            except OSError as error:
                self._failed = error
                raise
            self._durable = written
        crash("record-synced")

    def _open(self) -> None:
        if self._fd < 0:
            self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            durable.sync_directory(self._path.parent)

    def close(self) -> None:
        """Nothing more is made durable. Waits for a sync that goes on."""
        with self._lock:
            self._closed = True
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1
