"""Directories listed through the mount.

A name's place in a listing is a hash of it: a listing that is gone on with, by a successor too, after others were made
and removed, shows each name that stays exactly once.
"""

from __future__ import annotations

import os
import stat
import threading

import xxhash

from engine.fill.by_fuse.behind import Behind
from engine.fuse import protocol as fuse
from engine.fuse import requests
from engine.fuse.protocol import Request

_FIRST = 3
"""Places 1 and 2 are behind `.` and `..`."""
_NOTHING = bytes(fuse.ENTRY_BYTES)
_UNKNOWN = 0

Names = list[tuple[int, bytes, int, int]]
"""(place, name, node, mode or 0), ascending by place."""


class Listings:
    """What was listed for each open directory, until it is closed or read from its beginning again."""

    def __init__(self, behind: Behind) -> None:
        self._behind = behind
        self._made: dict[int, Names] = {}
        self._next = os.getpid() << 32
        self._lock = threading.Lock()

    def open(self, request: Request) -> bytes:
        """OPENDIR."""
        with self._lock:
            self._next += 1
            handle = self._next
        return fuse.opened(handle, fuse.OPEN_KEEP_CACHE | fuse.OPEN_CACHE_DIR)

    def close(self, request: Request) -> bytes:
        """RELEASEDIR."""
        self._made.pop(requests.handle_of(request.body), None)
        return b""

    def read(self, request: Request) -> bytes:
        """READDIR and READDIRPLUS."""
        handle, offset, size = fuse.read_of(request.body)
        made = self._made.get(handle)
        if made is None or not offset:
            made = self._made[handle] = self._list(request.node)
        plus = request.opcode == fuse.READDIRPLUS
        parts: list[bytes] = []
        used = 0
        for at in range(_from(made, offset), len(made)):
            place, name, node, mode = made[at]
            length = fuse.DIRENT_BYTES + len(name) + -len(name) % 8 + (fuse.ENTRY_BYTES if plus else 0)
            if used + length > size:
                break
            entry = self._entry(request.node, name) if plus else b""
            if entry is None:
                continue  # removed since
            parts.append(entry)
            parts.append(fuse.dirent(node, place, name, mode))
            used += length
        return b"".join(parts)

    def _list(self, node: int) -> Names:
        behind = self._behind
        found: Names = []
        fd = behind.nodes.open_directory(node)
        try:
            with os.scandir(fd) as listing:
                for each in listing:
                    name = os.fsencode(each.name)
                    if behind.nodes.hides(node, name):
                        continue
                    place = max(_FIRST, xxhash.xxh3_64_intdigest(name) >> 1)
                    found.append((place, name, each.inode(), _mode(each)))
            if not found and not os.fstat(fd).st_nlink:
                return []  # removed: not even itself is in it
        finally:
            os.close(fd)
        found.sort()
        try:
            above = behind.nodes.parent(node)
        except OSError:
            above = node
        return [(1, b".", node, stat.S_IFDIR), (2, b"..", above, stat.S_IFDIR), *found]

    def _entry(self, parent: int, name: bytes) -> bytes | None:
        if name in (b".", b".."):
            return _NOTHING
        behind = self._behind
        try:
            directory = behind.nodes.directory(parent)
            found = os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
            node = behind.nodes.number(found)
            behind.nodes.seen(node, parent, name, found.st_nlink)
            if behind.cold(node) is not None:
                found = behind.stat(node)
        except OSError:
            return None
        return behind.entry(node, found)


def _from(made: Names, offset: int) -> int:
    """The index of the first name behind a place."""
    low, high = 0, len(made)
    while low < high:
        middle = (low + high) // 2
        if made[middle][0] <= offset:
            low = middle + 1
        else:
            high = middle
    return low


def _mode(entry: os.DirEntry[str]) -> int:
    if entry.is_symlink():
        return stat.S_IFLNK
    if entry.is_dir(follow_symlinks=False):
        return stat.S_IFDIR
    return stat.S_IFREG if entry.is_file(follow_symlinks=False) else _UNKNOWN
