"""Which file a node of the mount is: nodes are inode numbers of the tree behind, files are found by their names.

A name is where a file was last seen: what is found there is compared with the number, and looked for again when another
thread has just moved it. A filler that takes over knows no names: it walks the tree once, when it first needs one.
Descriptors are closed when the last thread that uses them lets go (reference counts do that).
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Iterable

from engine.fuse.protocol import ROOT

KEPT = (1 << 64) - 1
"""The directory, outside the tree, of files that are open and have no name any more. It is no node of the kernel's."""

DIRECTORIES_MAX = 512
_TRIES = 5


class Held:
    """A descriptor that is closed once nobody has a reference to it."""

    __slots__ = ("__weakref__", "fd")

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self) -> None:
        os.close(self.fd)

    @property
    def path(self) -> bytes:
        """A path that leads to just this file, whatever its names are."""
        return b"/proc/self/fd/%d" % self.fd


class Nodes:
    """`root` is the tree, `kept` KEPT, which nobody sees under `kept_name` in it. Threads use it together."""

    def __init__(self, root: Held, kept: Held, kept_name: bytes = b"") -> None:
        self.kept, self.kept_name = kept, kept_name
        self.move_to(root)
        self._where: dict[int, tuple[int, bytes]] = {}
        self._others: dict[int, set[tuple[int, bytes]]] = {}
        self._looked: dict[int, int] = {}
        self._directories: dict[int, Held] = {}
        self._gone: dict[int, Held] = {}
        self._walked = False
        self._counting = threading.Lock()
        self.naming = threading.RLock()
        """Held while names change, here and on disk."""

    def move_to(self, root: Held) -> None:
        """The names of the tree's own directory are in this one. Nothing is asked meanwhile."""
        found = os.fstat(root.fd)
        self.root, self.dev, self._root_ino = root, found.st_dev, found.st_ino

    def hides(self, node: int, name: bytes) -> bool:
        """Whether a name is one of ours."""
        return node == ROOT and name == self.kept_name

    def number(self, found: os.stat_result) -> int:
        """The node of what stat(2) found. OSError EXDEV: of another file system that is mounted below."""
        if found.st_dev != self.dev:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        return ROOT if found.st_ino == self._root_ino else found.st_ino

    # Where nodes are

    def place(self, node: int) -> tuple[Held, bytes]:
        """(directory, name) where a node was last seen. OSError ESTALE for one that is not there any more."""
        if node == ROOT:
            return self.root, b"."
        known = self._where.get(node)
        if known is None:
            known = self._find(node)
        return self.directory(known[0]), known[1]

    def directory(self, node: int) -> Held:
        """A directory itself. OSError ESTALE."""
        if node == ROOT:
            return self.root
        if node == KEPT:
            return self.kept
        held = self._directories.get(node)
        if held is None:
            held = self.held(node)
            if not stat.S_ISDIR(os.fstat(held.fd).st_mode):
                raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            self._directories[node] = held
            while len(self._directories) > DIRECTORIES_MAX:
                try:
                    del self._directories[next(iter(self._directories))]
                except (KeyError, RuntimeError, StopIteration):
                    break  # another thread did
        return held

    def open_directory(self, node: int) -> int:
        """A descriptor through which a directory can be read; the caller closes it. OSError ESTALE."""
        held = self.directory(node)
        return os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=held.fd)

    def stat(self, node: int) -> os.stat_result:
        """lstat(2) of a node; it may have no name any more. OSError ESTALE."""
        known = self._directories.get(node) or self._gone.get(node)
        if known is not None:
            return os.fstat(known.fd)
        for turn in range(_TRIES):
            try:
                above, name = self._place_for(node, turn)
                found = os.stat(name, dir_fd=above.fd, follow_symlinks=False)
            except FileNotFoundError:
                continue
            if self.number(found) == node:
                return found
        raise stale()

    def held(self, node: int, flags: int = os.O_PATH) -> Held:
        """A descriptor of a node, opened with these flags of open(2). OSError ESTALE, and open(2)'s."""
        gone = self._gone.get(node)
        if gone is not None:
            return gone if flags == os.O_PATH else Held(os.open(gone.path, flags | os.O_CLOEXEC))
        how = flags | os.O_NOFOLLOW | os.O_CLOEXEC
        for turn in range(_TRIES):
            try:
                above, name = self._place_for(node, turn)
                held = Held(os.open(name, how, dir_fd=above.fd))
            except (FileNotFoundError, NotADirectoryError):
                continue
            if self.number(os.fstat(held.fd)) == node:
                return held
        raise stale()

    def is_kept(self, node: int) -> bool:
        """Whether its only name is the one that it has in KEPT."""
        known = self._where.get(node)
        return known is not None and known[0] == KEPT

    def parent(self, node: int) -> int:
        """The node of the directory that a directory is in; the root's is the root."""
        if node == ROOT:
            return ROOT
        held = self.directory(node)
        found = os.stat(b"..", dir_fd=held.fd)
        return self.number(found)

    def keep(self, node: int) -> None:
        """A file that is open has lost its last name and is found in KEPT. Within `naming`."""
        self._others.pop(node, None)
        self._where[node] = (KEPT, b"%d" % node)

    def let_go(self, node: int) -> None:
        """Nobody has a file of KEPT open any more: it goes."""
        with self.naming:
            if self.is_kept(node):
                del self._where[node]
                os.unlink(b"%d" % node, dir_fd=self.kept.fd)

    def _place_for(self, node: int, turn: int) -> tuple[Held, bytes]:
        if not turn:
            return self.place(node)
        with self.naming:  # who moved it has written down where to by now
            return self.place(node)

    # What happens to names

    def seen(self, node: int, parent: int, name: bytes, links: int) -> None:
        """A node is at a name."""
        where = (parent, name)
        known = self._where.setdefault(node, where)
        if known != where:
            if links > 1:
                self._others.setdefault(node, set()).add(known)
            self._where[node] = where

    def looked_up(self, node: int) -> None:
        """The kernel was told of a node, which it will forget again."""
        with self._counting:
            self._looked[node] = self._looked.get(node, 0) + 1

    def forgotten(self, told: Iterable[tuple[int, int]]) -> None:
        """(node, lookups less): the kernel doesn't know these nodes any more."""
        with self._counting:
            for node, count in told:
                self._gone.pop(node, None)
                left = self._looked.get(node, 0) - count
                if left > 0:
                    self._looked[node] = left
                    continue
                self._looked.pop(node, None)
                known = self._where.get(node)
                if not self._walked and known is not None and known[0] != KEPT:
                    del self._where[node]
                    self._others.pop(node, None)

    def unnamed(self, node: int, parent: int, name: bytes, *, last: Held | None = None) -> None:
        """A name is gone; `last`: the file itself, when it was its last one. Within `naming`."""
        self._directories.pop(node, None)
        others = self._others.get(node, set())
        others.discard((parent, name))
        if self._where.get(node) == (parent, name):
            if others:
                self._where[node] = others.pop()
            else:
                self._where.pop(node, None)
        if not others:
            self._others.pop(node, None)
        if last is not None:
            self._where.pop(node, None)
            self._gone[node] = last  # its number is not given to another before the kernel has forgotten it

    def moved(self, node: int, old: tuple[int, bytes], new: tuple[int, bytes]) -> None:
        """A node has another name instead. Within `naming`."""
        others = self._others.get(node)
        if others is not None:
            others.discard(old)
        if others and self._where.get(node) != old:
            others.add(new)
        else:
            self._where[node] = new

    def _find(self, node: int) -> tuple[int, bytes]:
        with self.naming:
            if not self._walked and node not in self._where:
                self._walk(KEPT)
                self._walk(ROOT)
                self._walked = True
            known = self._where.get(node)
        if known is None:
            raise stale()
        return known

    def _walk(self, top: int) -> None:
        pending = [top]
        while pending:
            parent = pending.pop()
            fd = self.open_directory(parent)
            try:
                with os.scandir(fd) as listing:
                    for found in listing:
                        node = found.inode()
                        self.seen(node, parent, os.fsencode(found.name), 2)
                        if found.is_dir(follow_symlinks=False):
                            pending.append(node)
            finally:
                os.close(fd)


def stale() -> OSError:
    """The kernel asks for a file that is not there any more."""
    return OSError(errno.ESTALE, os.strerror(errno.ESTALE))
