"""Metadata objects as local files that have been checked: a file whose content does not match its name is not given.

The check costs one read of the file. It is remembered for as long as the file stays the same one (size, time of
change, inode), so a file that is swapped under a running process is checked again.
"""

from __future__ import annotations

import os
import tempfile
import threading
from pathlib import Path

from blake3 import blake3

from engine.format import names
from engine.model.errors import Damaged
from engine.store.base import Missing, Store
from engine.store.cached import LocalView

_CHUNK_BYTES = 1 << 20


class VerifiedFiles:
    """Local paths of segments and checkpoints. Safe to use from several threads.

    A store without local files is read through copies in `cache`; without one, in a directory that goes with `close`.
    """

    def __init__(self, store: Store, cache: Path | None = None) -> None:
        self._store = store
        self._cache = cache
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._view: LocalView | None = None
        self._good: dict[str, tuple[int, int, int]] = {}
        self._lock = threading.Lock()

    def path(self, key: str) -> Path:
        """A file with the object's content, for reading only. Raises Missing, and Damaged for other content."""
        expected = names.hash_in(key)
        if expected is None:
            raise ValueError(f"{key} carries no content hash")
        path = self._store.local_path(key) or self._copies().path(key)
        try:
            status = path.stat()
            identity = (status.st_size, status.st_mtime_ns, status.st_ino)
            good = self._good.get(key) == identity
            actual = expected if good else file_hash(path)
        except FileNotFoundError:  # merged away, or evicted, just now
            raise Missing(key) from None
        if not good:
            if actual != expected:
                raise changed(key, actual)
            self._good[key] = identity
        return path

    def close(self) -> None:
        with self._lock:
            if self._temporary is not None:
                self._temporary.cleanup()
            self._temporary = self._view = None

    def _copies(self) -> LocalView:
        with self._lock:
            if self._view is None:
                if self._cache is None:
                    self._temporary = tempfile.TemporaryDirectory(prefix="bcs-cache-")
                self._view = LocalView(self._store, self._cache or self._temporary.name)  # type: ignore[union-attr]
            return self._view


def file_hash(path: str | os.PathLike[str]) -> str:
    """The content hash of a file, as names carry it."""
    hasher = blake3()
    with Path(path).open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK_BYTES):
            hasher.update(chunk)
    return hasher.hexdigest(names.HASH_BYTES)


def changed(key: str, actual: str) -> Damaged:
    return Damaged(
        f"object {key} is damaged: its content has the hash {actual}, not the one in its name",
        hint="run `bcsctl check` to see what it affects; a replica may still have the object",
        details={"object": key, "hash": actual},
    )
