"""Local paths for the objects of any store. For readers that want files, such as DuckDB.

A store with local files gives its own. For others objects are fetched into a directory of bounded size, from which
those go first that were used longest ago. Objects never change, so a copy is never stale; one whose object has been
deleted may still be given.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path

from engine.env import durable
from engine.store.base import Store, is_key


class LocalView:
    """Paths for keys. Safe to use from several threads; one process a directory."""

    def __init__(self, store: Store, directory: str | os.PathLike[str], bytes_max: int = 4 << 30) -> None:
        self._store = store
        self._directory = Path(directory).absolute() / "objects"  # ours alone: everything in it may be deleted
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._fetching: dict[str, threading.Lock] = {}
        self._held: Counter[str] = Counter()
        self._sizes: OrderedDict[str, int] = OrderedDict()  # oldest use first
        self._bytes = 0
        durable.make_directories(self._directory)
        self._remember()

    @property
    def bytes_cached(self) -> int:
        """What the copies take up, in bytes."""
        return self._bytes

    def path(self, key: str) -> Path:
        """A file with the object's content, for reading only. Raises Missing, and what the store's `get` raises.

        A copy may go once enough others have been asked for: within `holding` it stays.
        """
        with self.holding([key]) as paths:
            return paths[0]

    @contextlib.contextmanager
    def holding(self, keys: Iterable[str]) -> Iterator[list[Path]]:
        """The paths of `keys`, in order, that stay until the block ends; the bound gives way to that."""
        keys = list(keys)
        with self._lock:
            self._held.update(keys)
        try:
            yield [self._local(key) for key in keys]
        finally:
            with self._lock:
                self._held -= Counter(keys)
                self._evict()

    def _local(self, key: str) -> Path:
        known = self._known(key)
        if known is not None:
            return known
        direct = self._store.local_path(key)
        if direct is not None:
            return direct
        with self._lock:
            fetching = self._fetching.setdefault(key, threading.Lock())
        with fetching:
            known = self._known(key)  # another thread may have fetched it while we waited
            return known if known is not None else self._fetch(key)

    def _known(self, key: str) -> Path | None:
        path = self._directory / key
        with self._lock:
            if key not in self._sizes:
                return None
            self._sizes.move_to_end(key)
            try:
                os.utime(path)  # so that the order outlives the process
            except FileNotFoundError:  # somebody has cleared the cache
                self._forget(key)
                return None
            return path

    def _fetch(self, key: str) -> Path:
        path = self._directory / key
        try:
            content = self._store.get(key)
            durable.make_directories(path.parent)
            # Synced although it is a cache: a crash may otherwise leave a file of the right size, full of zeros.
            durable.replace(path, content)
        finally:
            with self._lock:
                self._fetching.pop(key, None)
        with self._lock:
            self._add(key, len(content))
            self._evict()
        return path

    def _add(self, key: str, size: int) -> None:
        self._forget(key)
        self._sizes[key] = size
        self._bytes += size

    def _forget(self, key: str) -> None:
        self._bytes -= self._sizes.pop(key, 0)

    def _evict(self) -> None:
        if self._bytes <= self._bytes_max:
            return
        for key in list(self._sizes)[:-1]:  # the newest stays, however large: it has just been asked for
            if self._bytes <= self._bytes_max:
                return
            if self._held[key] == 0:
                (self._directory / key).unlink(missing_ok=True)
                self._forget(key)

    def _remember(self) -> None:
        """Take over what an earlier process has left; clear away its half-written files."""
        found: list[tuple[int, str, int]] = []
        for path in self._directory.rglob("*"):
            if path.is_dir():
                continue
            key = str(path.relative_to(self._directory))
            if not is_key(key):
                path.unlink()
                continue
            status = path.stat()
            found.append((status.st_mtime_ns, key, status.st_size))
        for _, key, size in sorted(found):
            self._add(key, size)
        self._evict()
