"""A store in a local directory: an object is a file, its key the path below the root.

The default store, and what a commit waits for. Names that are no keys are ignored, so a file system's lost+found and
the temporaries of file systems without nameless files do no harm. Empty directories stay: removing them would race
with those who put.
"""

from __future__ import annotations

import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from engine.env import durable
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
    is_key,
)

OPEN_DIRECTORIES_MAX = 64

_Result = TypeVar("_Result")


class LocalStore:
    """See engine.store.base.Store. Several processes may use one root at once. Modes are 0700 and 0600.

    The root is made if it is not there. It must be a file system with hard links.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root).absolute()
        durable.make_directories(self.root)
        self._prefix = f"{self.root}/"
        self._directories: OrderedDict[str, _OpenDirectory] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, key: str, data: Data) -> None:
        check_key(key)
        folder, _, name = key.rpartition("/")
        try:
            self.in_directory(folder, lambda directory: durable.create(directory.fd, name, data))
        except FileExistsError:
            raise self.conflict(key) from None

    def open_put(self, key: str) -> Upload:
        check_key(key)
        return _LocalUpload(self, key)

    def get(self, key: str) -> bytes:
        fd, size = self._open(key)
        try:
            content = _read(fd, 0, size)
        finally:
            os.close(fd)
        if len(content) != size:
            raise cut_short(key, 0, size, len(content))
        return content

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        check_key(key)
        check_range(offset, length)
        if length == 0:
            return b""
        fd, size = self._open(key)
        try:
            content = _read(fd, offset, min(length, max(0, size - offset)))
        finally:
            os.close(fd)
        if len(content) != length:
            raise cut_short(key, offset, length, len(content))
        return content

    def size(self, key: str) -> int:
        check_key(key)
        try:
            status = os.stat(self._prefix + key)
        except (FileNotFoundError, NotADirectoryError):
            raise Missing(key) from None
        if not stat.S_ISREG(status.st_mode):
            raise Missing(key)
        return status.st_size

    def list(self, prefix: str, after: str = "") -> Iterator[Item]:
        check_prefix(prefix)
        return self._walk(prefix.rpartition("/")[0], prefix, after)

    def delete(self, *keys: str) -> None:
        for key in keys:
            check_key(key)
        changed: set[str] = set()
        for key in keys:
            path = self._prefix + key
            with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
                os.unlink(path)
                changed.add(os.path.dirname(path))
        for directory in sorted(changed):
            durable.sync_directory(directory)

    def local_path(self, key: str) -> Path | None:
        self.size(key)
        return Path(self._prefix + key)

    def _open(self, key: str) -> tuple[int, int]:
        """A descriptor and the size."""
        check_key(key)
        try:
            fd = os.open(self._prefix + key, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            raise Missing(key) from None
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise Missing(key)
        return fd, status.st_size

    def conflict(self, key: str) -> Exception:
        """What a name that exists means."""
        if os.path.isdir(self._prefix + key):
            return ValueError(f"{key!r} is a directory of other objects")
        return AlreadyThere(key)

    def _walk(self, folder: str, prefix: str, after: str) -> Iterator[Item]:
        base = f"{folder}/" if folder else ""
        for key, entry in _sorted_entries(self._prefix + base, base, prefix, after):
            if key.endswith("/"):
                yield from self._walk(key[:-1], prefix, after)
                continue
            try:
                yield Item(key, entry.stat().st_size)
            except FileNotFoundError:
                continue  # deleted meanwhile

    def in_directory(self, folder: str, act: Callable[[_OpenDirectory], _Result]) -> _Result:
        """act(the directory), which is made where needed."""
        directory = self._directory(folder)
        try:
            return act(directory)
        except OSError:
            # ENOENT, or EPERM on ext4, where somebody has removed the directory behind our descriptor.
            if os.fstat(directory.fd).st_nlink > 0:
                raise
        with self._lock:
            self._directories.pop(folder, None)
        return act(self._directory(folder))

    def _directory(self, folder: str) -> _OpenDirectory:
        with self._lock:
            known = self._directories.get(folder)
            if known is not None:
                self._directories.move_to_end(folder)
                return known
        path = self.root / folder
        try:
            durable.make_directories(path, below=self.root)
        except NotADirectoryError:
            raise ValueError(f"{folder + '/'!r} would lie below an object") from None
        opened = _OpenDirectory(path)
        with self._lock:
            self._directories[folder] = opened
            while len(self._directories) > OPEN_DIRECTORIES_MAX:
                self._directories.popitem(last=False)
        return opened


class _OpenDirectory:
    """A descriptor that closes when the last one who uses it lets go: dropping it from the cache mid-put is safe."""

    __slots__ = ("fd",)

    def __init__(self, path: Path) -> None:
        self.fd = -1
        self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)


class _LocalUpload(Upload):
    def __init__(self, store: LocalStore, key: str) -> None:
        self._store = store
        self._key = key
        folder, _, self._name = key.rpartition("/")
        # Held until the end: the descriptor must not close under the file that grows in it.
        self._directory, self._file = store.in_directory(folder, lambda it: (it, durable.Growing(it.fd)))

    def write(self, data: Data) -> None:
        self._file.write(data)

    def commit(self) -> None:
        try:
            self._file.publish(self._name)
        except FileExistsError:
            raise self._store.conflict(self._key) from None

    def abort(self) -> None:
        self._file.discard()


def _sorted_entries(path: str, base: str, prefix: str, after: str) -> list[tuple[str, os.DirEntry[str]]]:
    """What of a directory a listing wants, by key; those of directories end with '/', so 'a-b' < 'a/' < 'a0'.

    `base` is the directory's own key, with '/'. Strings are compared first: it is what most entries need.
    """
    wanted: list[tuple[str, os.DirEntry[str]]] = []
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                key = base + entry.name
                if entry.is_dir():
                    key += "/"
                    if (key > after or after.startswith(key)) and (key.startswith(prefix) or prefix.startswith(key)):
                        wanted.append((key, entry))
                elif key > after and key.startswith(prefix):
                    wanted.append((key, entry))
    except (FileNotFoundError, NotADirectoryError):
        return []
    wanted.sort(key=lambda each: each[0])
    return [(key, entry) for key, entry in wanted if is_key(entry.name)]


def _read(fd: int, offset: int, length: int) -> bytes:
    """Up to `length` bytes, fewer at the end of the file."""
    first = os.pread(fd, length, offset)
    if len(first) == length or not first:
        return first
    parts = [first]
    got = len(first)
    while got < length:
        part = os.pread(fd, length - got, offset + got)
        if not part:
            break
        parts.append(part)
        got += len(part)
    return b"".join(parts)
