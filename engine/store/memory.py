"""A store in memory, for tests and as the plainest statement of the contract."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

from engine.env.durable import views
from engine.store.base import (
    AlreadyThere,
    Data,
    Item,
    Missing,
    Upload,
    check_key,
    check_prefix,
    check_range,
    cut_short,
)


class MemoryStore:
    """Durable only as long as the process; else as engine.store.base.Store says."""

    def __init__(self) -> None:
        self._objects: dict[str, bytes] = {}
        self._folders: set[str] = set()  # never shrinks, like the directories of a LocalStore
        self._lock = threading.Lock()

    def put(self, key: str, data: Data) -> None:
        check_key(key)
        content = b"".join(views(data))
        with self._lock:
            if key in self._objects:
                raise AlreadyThere(key)
            self._claim(key)
            self._objects[key] = content

    def open_put(self, key: str) -> Upload:
        check_key(key)
        return _MemoryUpload(self, key)

    def get(self, key: str) -> bytes:
        check_key(key)
        try:
            return self._objects[key]
        except KeyError:
            raise Missing(key) from None

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        check_key(key)
        check_range(offset, length)
        if length == 0:
            return b""
        content = self.get(key)[offset : offset + length]
        if len(content) != length:
            raise cut_short(key, offset, length, len(content))
        return content

    def size(self, key: str) -> int:
        return len(self.get(key))

    def list(self, prefix: str, after: str = "") -> Iterator[Item]:
        check_prefix(prefix)
        with self._lock:
            found = [Item(key, len(content)) for key, content in self._objects.items() if key.startswith(prefix)]
        found = [item for item in found if item.key > after]
        return iter(sorted(found, key=lambda item: item.key))

    def delete(self, *keys: str) -> None:
        for key in keys:
            check_key(key)
        with self._lock:
            for key in keys:
                self._objects.pop(key, None)

    def local_path(self, key: str) -> Path | None:
        self.get(key)
        return None

    def _claim(self, key: str) -> None:
        parts = key.split("/")
        above = {"/".join(parts[:count]) for count in range(1, len(parts))}
        if not above.isdisjoint(self._objects):
            raise ValueError(f"{key!r} would lie below an object")
        if key in self._folders:
            raise ValueError(f"{key!r} is a directory of other objects")
        self._folders |= above


class _MemoryUpload(Upload):
    def __init__(self, store: MemoryStore, key: str) -> None:
        self._store = store
        self._key = key
        self._parts: list[bytes] | None = []

    def write(self, data: Data) -> None:
        if self._parts is None:
            raise ValueError(f"the upload of {self._key} is over")
        self._parts.extend(bytes(view) for view in views(data))

    def commit(self) -> None:
        if self._parts is None:
            raise ValueError(f"the upload of {self._key} is over")
        parts, self._parts = self._parts, None
        self._store.put(self._key, parts)

    def abort(self) -> None:
        self._parts = None
