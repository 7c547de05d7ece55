"""What is behind the mount, for all that answers requests: nodes, open files, fills; what the kernel may believe."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field

from engine.fill.base import Fills
from engine.fill.by_fuse.nodes import Held, Nodes
from engine.fill.by_fuse.opened import OpenFiles
from engine.fill.by_fuse.waiting import Waiting
from engine.fuse import protocol as fuse
from engine.fuse import requests
from engine.fuse.memory import Memory
from engine.fuse.protocol import ROOT

BELIEVED_SECONDS = 3600
"""Names and attributes change through the kernel alone, which knows then; not so what it reads and writes by itself."""


@dataclass(slots=True)
class Behind:
    """`top`: has the root's owner, mode and xattrs, `nodes.root` its names; they may be one directory."""

    nodes: Nodes
    files: OpenFiles
    fills: Fills
    memory: Memory
    top: Held
    waiting: Waiting
    is_root: bool = field(default_factory=lambda: os.geteuid() == 0)
    own: threading.local = field(default_factory=threading.local)

    def cold(self, node: int) -> int | None:
        return self.fills.number_of(self.nodes.dev, node)

    def stat(self, node: int) -> os.stat_result:
        """A node as its users see it: never in the middle of a fill, whose time of writing is put back."""
        number = self.cold(node)
        if number is None:
            return self.nodes.stat(node)
        with self.fills.window(number):
            return self.nodes.stat(node)

    def attributes(self, node: int, found: os.stat_result) -> bytes:
        if node == ROOT and self.top is not self.nodes.root:
            found = _as_of(found, os.fstat(self.top.fd))
        links = found.st_nlink - 1 if self.nodes.is_kept(node) else found.st_nlink
        return requests.attributes(found, node, links)

    def believed(self, node: int) -> int:
        return 0 if self.files.is_open(node) and self.files.is_passed_for_writing(node) else BELIEVED_SECONDS

    def attributes_out(self, node: int) -> bytes:
        return fuse.attributes_out(self.attributes(node, self.stat(node)), self.believed(node))

    def entry(self, node: int, found: os.stat_result) -> bytes:
        """The kernel is told of a node: it counts."""
        self.nodes.looked_up(node)
        return fuse.entry(node, self.attributes(node, found), BELIEVED_SECONDS, self.believed(node))

    def held(self, node: int) -> Held:
        """A descriptor that names a node, for its attributes."""
        return self.top if node == ROOT else self.nodes.held(node)

    def umask(self, mask: int) -> None:
        """This thread makes files under a caller's umask; the file system itself knows where it doesn't count."""
        if getattr(self.own, "umask", None) != mask:
            os.umask(mask)
            self.own.umask = mask


def _as_of(names: os.stat_result, top: os.stat_result) -> os.stat_result:
    """The root: times and links of the directory that has the names, owner and mode of the other."""
    mixed = list(names)
    mixed[0], mixed[4], mixed[5] = top.st_mode, top.st_uid, top.st_gid
    return os.stat_result(
        mixed,
        {
            "st_atime_ns": names.st_atime_ns,
            "st_mtime_ns": names.st_mtime_ns,
            "st_ctime_ns": names.st_ctime_ns,
            "st_blocks": names.st_blocks,
            "st_blksize": names.st_blksize,
            "st_rdev": names.st_rdev,
        },
    )
