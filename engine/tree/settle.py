"""Make a written tree durable, and drop it from memory so that what is read next comes from the disk."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import TracebackType

from engine.model.errors import Failed
from engine.tree.paths import shown

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syncfs.argtypes = [ctypes.c_int]


def sync(directory: bytes) -> None:
    """All that was written below a directory of one file system is on its disk afterwards (syncfs(2)).

    Failed when the disk did not take it: then nobody knows what is there. Errors are told since Linux 5.8.
    """
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _libc.syncfs(fd):
            number = ctypes.get_errno()
            raise Failed(
                f"what was written below {shown(directory)} did not reach the disk: {os.strerror(number)}",
                hint="look at the disk and the kernel's log, then restore again to another directory",
                details={"errno": number},
            )
    finally:
        os.close(fd)


class Settling:
    """While much is written below a directory, what is there already goes to the disk: the sync at the end, which is
    the caller's, then has less to wait for. Used as a context, which raises what `sync` raised meanwhile, whatever else
    ends it: the kernel tells a disk's failure once, and whoever asks next hears nothing of it."""

    EVERY_BYTES = 64 << 20

    def __init__(self, directory: bytes, sync: Callable[[bytes], None] = sync) -> None:
        self._directory, self._sync = directory, sync
        self._waiting = 0
        self._thread: threading.Thread | None = None
        self._failed: Failed | None = None

    def wrote(self, count: int) -> None:
        """So many bytes more are there."""
        self._waiting += count
        if self._waiting >= self.EVERY_BYTES and not (self._thread and self._thread.is_alive()):
            self._waiting = 0
            thread = threading.Thread(target=self._settle, name="settling", daemon=True)
            with suppress(RuntimeError):  # no more threads here: the sync at the end does it all
                thread.start()
                self._thread = thread

    def _settle(self) -> None:
        try:
            self._sync(self._directory)
        except Failed as error:
            self._failed = self._failed or error
        except OSError:
            pass  # it can't be opened: the sync at the end says so

    def __enter__(self) -> Settling:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._thread is not None:
            self._thread.join()
        if self._failed is not None:
            raise self._failed from error


def sync_all(directories: Iterable[bytes]) -> None:
    """`sync` each of the file systems that these directories are on, once."""
    devices: dict[int, bytes] = {}
    for directory in directories:
        devices.setdefault(os.stat(directory).st_dev, directory)
    for directory in devices.values():
        sync(directory)


def drop_pages(fd: int) -> None:
    """Forget what memory holds of a file that was synced. A hint: a file system without pages has nothing to drop."""
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
