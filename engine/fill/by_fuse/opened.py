"""Files that are open through the mount: descriptors of the files behind, and how the kernel reads and writes them.

Where the kernel can (Linux 6.9, as root), a file that is whole is passed to it: it reads and writes behind us, at its
own speed. One file is open in one way at a time, cached by the kernel or passed: the kernel insists. What is open is
written down in the mount's memory; a successor opens the files behind again when they are first used.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import threading

from engine.fill.base import ColdFile, Fills
from engine.fill.by_fuse.nodes import Held, Nodes, stale
from engine.fill.tree.handles import handle_of
from engine.fuse import protocol as fuse
from engine.fuse import requests
from engine.fuse.memory import CACHED, PASSED, Memory, Opening

_KEPT_FLAGS = os.O_ACCMODE | os.O_SYNC | os.O_DSYNC | os.O_NOATIME
"""O_APPEND is the kernel's: it says where to write. O_TRUNC comes as SETATTR, O_DIRECT is between it and its cache."""
_BACKING = struct.Struct("=iIQ")


class OpenFile:
    """One open file. `number`: it was cold when last looked at."""

    __slots__ = ("held", "node", "number")

    def __init__(self, held: Held, node: int, number: int | None) -> None:
        self.held, self.node, self.number = held, node, number

    @property
    def fd(self) -> int:
        return self.held.fd


def is_it(held: Held, file: ColdFile) -> bool:
    """Whether this is the very file, and not another that has its inode number by now."""
    return not file.handle or handle_of(held.fd) == file.handle


class OpenFiles:
    """All of one mount. Threads use it together."""

    def __init__(self, nodes: Nodes, memory: Memory, device: int, fills: Fills) -> None:
        self._nodes, self._memory, self._device, self._fills = nodes, memory, device, fills
        self._files: dict[int, OpenFile] = {}
        self._of: dict[int, set[int]] = {}
        for number, opening in memory.openings():
            self._of.setdefault(opening.node, set()).add(number + 1)
        self._lock = threading.Lock()
        self._passes = os.geteuid() == 0

    def is_open(self, node: int) -> bool:
        return node in self._of

    def is_passed_for_writing(self, node: int) -> bool:
        """Whether the kernel may be changing it without telling us."""
        for handle in tuple(self._of.get(node, ())):
            opening = self._memory.opening(handle)
            if opening is not None and opening.how == PASSED and opening.flags & os.O_ACCMODE:
                return True
        return False

    def open(self, node: int, flags: int, unique: int, again: bool, held: Held | None = None) -> bytes:
        """The answer to OPEN; with `held` for a file that was just made. OSError of open(2), ENFILE."""
        kept = flags & _KEPT_FLAGS
        if held is None:
            held = self._nodes.held(node, kept)
        number = self._cold(node, held)
        unique &= ~requests.RESENT
        with self._lock:
            if again:
                self._forget_request(unique)
            how, backing = self._how(node, held, number)
            try:
                handle = self._memory.opened(Opening(node, unique, kept, how, backing))
            except IndexError:
                raise OSError(errno.ENFILE, os.strerror(errno.ENFILE)) from None
            self._of.setdefault(node, set()).add(handle)
        self._files[handle] = OpenFile(held, node, number)
        if how == PASSED:
            if kept & os.O_ACCMODE:
                self._believe_no_more(node)
            return requests.opened(handle, requests.OPEN_PASSTHROUGH, backing)
        return requests.opened(handle, fuse.OPEN_KEEP_CACHE)

    def get(self, handle: int) -> OpenFile:
        """An open file; one that a predecessor had opened is opened again. OSError ESTALE."""
        known = self._files.get(handle)
        if known is not None:
            return known
        opening = self._memory.opening(handle)
        if opening is None:
            raise stale()
        held = self._nodes.held(opening.node, opening.flags)
        return self._files.setdefault(handle, OpenFile(held, opening.node, self._cold(opening.node, held)))

    def one_of(self, node: int) -> OpenFile | None:
        """Some open file of a node, in whatever way it is open."""
        for handle in tuple(self._of.get(node, ())):
            return self.get(handle)
        return None

    def close(self, handle: int) -> None:
        """RELEASE. Idempotent."""
        opening = self._memory.opening(handle)
        self._files.pop(handle, None)
        if opening is None:
            return
        with self._lock:
            handles = self._of.get(opening.node, set())
            handles.discard(handle)
            last = not handles
            if last:
                self._of.pop(opening.node, None)
                if opening.how == PASSED:
                    self._pass_no_more(opening.backing)
            self._memory.closed(handle)
        if last and self._nodes.is_kept(opening.node):
            self._nodes.let_go(opening.node)

    def _cold(self, node: int, held: Held) -> int | None:
        """The number of a file that is cold; None too for one that got the inode number of a cold one that is gone."""
        number = self._fills.number_of(self._nodes.dev, node)
        return number if number is not None and is_it(held, self._fills.file(number)) else None

    def _how(self, node: int, held: Held, number: int | None) -> tuple[int, int]:
        for handle in self._of.get(node, ()):
            opening = self._memory.opening(handle)
            if opening is not None:
                return opening.how, opening.backing
        if number is None and self._may_pass(held):
            try:
                asked = bytearray(_BACKING.pack(held.fd, 0, 0))
                return PASSED, fcntl.ioctl(self._device, requests.BACKING_OPEN, asked, True)
            except OSError:
                self._passes = False  # a file system behind that is itself over another: by asking us then
        return CACHED, 0

    def _believe_no_more(self, node: int) -> None:
        """The kernel asks from now on: it doesn't see the times that a store into a mapping changes behind."""
        try:
            os.write(self._device, requests.attributes_changed(node))
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV):  # it knows nothing of the node yet
                raise

    def _may_pass(self, held: Held) -> bool:
        """Not a program with privileges: that writing takes them away is left to us, who would not see it."""
        agreed = self._memory.agreed
        if not self._passes or agreed is None or not agreed[0] & requests.PASSTHROUGH:
            return False
        return not os.fstat(held.fd).st_mode & (stat.S_ISUID | stat.S_ISGID)

    def _pass_no_more(self, backing: int) -> None:
        try:
            fcntl.ioctl(self._device, requests.BACKING_CLOSE, struct.pack("=I", backing))
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV):
                raise

    def _forget_request(self, unique: int) -> None:
        """What the predecessor noted of an OPEN and didn't get round to answering."""
        for number, opening in list(self._memory.openings()):
            if opening.unique == unique:
                handles = self._of.get(opening.node, set())
                handles.discard(number + 1)
                if not handles:
                    self._of.pop(opening.node, None)
                self._memory.closed(number + 1)
