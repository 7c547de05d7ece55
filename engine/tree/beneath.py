"""Reaching what lies below some directories without following a symbolic link on the way.

Whoever may rename something there can't lead us elsewhere: each directory is opened from the one above it, and what is
done is done through its descriptor.
"""

from __future__ import annotations

import errno
import os
from collections import OrderedDict
from collections.abc import Iterable

from engine.tree.paths import shown

KEPT_MAX = 32
_HELD = b"/proc/self/fd/"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Beneath:
    """Paths at or below `roots` (absolute), by names that can't be exchanged. Links that lead to a root are followed:
    whoever set it meant that; one that is a descriptor of ours (/proc/self/fd/N) is that directory, wherever it is by
    now. One thread uses it; `forget` before what directories there are changes."""

    def __init__(self, roots: Iterable[bytes]) -> None:
        self._roots = sorted({root.rstrip(b"/") or b"/" for root in roots}, key=len, reverse=True)
        self._kept: OrderedDict[bytes, int] = OrderedDict()

    def root_of(self, path: bytes) -> bytes | None:
        """The root that a path is at or below; None for one that is outside of all."""
        return next((root for root in self._roots if path == root or path.startswith(root.rstrip(b"/") + b"/")), None)

    def held(self, path: bytes) -> bytes:
        """A name of `path` through the descriptor of its directory, good for KEPT_MAX - 1 calls and until `forget`.

        OSError: ENOENT, ENOTDIR where a directory on the way is missing, or something else by now; EPERM outside."""
        root = self.root_of(path)
        if root is None or {b"", b".", b".."} & set(path.split(b"/")[1:]):
            raise OSError(errno.EPERM, f"{shown(path)} is not below what this host protects")
        if path == root:
            path = os.path.realpath(path)
            above, name = os.path.split(path)
            return b"/proc/self/fd/%d/%b" % (self._directory(above, above), name) if name else b"/"
        above, name = os.path.split(path)
        return b"/proc/self/fd/%d/%b" % (self._directory(root, above), name)

    def forget(self) -> None:
        """Close what is open."""
        while self._kept:
            os.close(self._kept.popitem()[1])

    def _directory(self, root: bytes, path: bytes) -> int:
        known = self._kept.get(path)
        if known is not None:
            self._kept.move_to_end(path)
            return known
        fd = os.open(root + b"/." if root.startswith(_HELD) else os.path.realpath(root), _DIRECTORY)
        for name in path[len(root) :].split(b"/"):
            if name:
                try:
                    below = os.open(name, _DIRECTORY, dir_fd=fd)
                finally:
                    os.close(fd)
                fd = below
        self._kept[path] = fd
        if len(self._kept) > KEPT_MAX:
            os.close(self._kept.popitem(last=False)[1])
        return fd
