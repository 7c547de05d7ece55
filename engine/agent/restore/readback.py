"""Read a received tree back from the disk and compare it with what the node says was kept: bytes, holes, attributes."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor

from blake3 import blake3

from engine.agent.restore.landing import Landing
from engine.agent.restore.receive import Done, Node, read_nodes
from engine.model.errors import BcsError
from engine.model.events import FILE, ROOT_ID
from engine.tree.attributes import CannotRead, read_attributes
from engine.tree.paths import shown
from engine.tree.readback import between, differing, first_not_zero, is_one
from engine.tree.settle import drop_pages
from engine.wire.batch import HASH_BYTES, Batch


class ReadBack:
    """Compares batch by batch, in their order; each holds the hashes of its extents, their bytes are not needed."""

    def __init__(
        self,
        landing: Landing,
        directories: dict[int, bytes],
        done: Done,
        owners: bool,
        threads: int,
        left_out: Collection[int] = (),
    ) -> None:
        """`left_out` are file_ids of what was not made."""
        self.differences: list[tuple[bytes, str]] = []
        self._left_out = left_out
        self._landing, self._directories = landing, directories
        self._owners = owners
        self._failed = {path for path, _ in done.failures}
        # What could not be set was reported when it was not; it is no news here.
        self._excused = {text.split(": ", 1)[0] for text in done.shortfalls}
        self._ends: dict[int, int] = {}  # of a file that goes on in the next batch: how far it was compared
        self._pool = ThreadPoolExecutor(threads, "read-back")

    def close(self) -> None:
        self._pool.shutdown()

    def compare(self, step: str, batch: Batch) -> None:
        """Add what differs of one batch's nodes."""
        found = read_nodes(step, batch, self._directories).values()
        nodes = [node for node in found if node.file_id not in self._left_out]
        starts = [self._ends.pop(node.file_id, 0) for node in nodes]
        for node in nodes:
            if step == "files" and node.attributes is None:
                self._ends[node.file_id] = node.extents[-1].offset + node.extents[-1].length if node.extents else 0
        for node, wrong in zip(nodes, self._pool.map(self._of_node, nodes, starts), strict=True):
            path = self._path(node)
            if path is not None:
                self.differences += [(self._landing.named(path), what) for what in wrong]

    def _path(self, node: Node) -> bytes | None:
        if node.names:
            return node.names[0]
        if node.file_id == ROOT_ID and not self._landing.before.made:
            return None
        path = self._directories[node.file_id]
        return path + b"/." if node.file_id == ROOT_ID else path

    def _of_node(self, node: Node, start: int) -> list[str]:
        path = self._path(node)
        if path is None or self._landing.named(path) in self._failed:
            return []
        found: list[str] = []
        try:
            if node.attributes is not None:
                excused = shown(self._landing.named(path)) in self._excused
                found += differing(read_attributes(path), node.attributes, excused=excused, owners=self._owners)
                found += [f"further name {shown(name)}" for name in self._lost_links(node)]
            if node.extents or (node.attributes is not None and node.attributes.type == FILE):
                found += content_differences(path, node, start)
        except CannotRead as error:
            found.append(os.strerror(error.errno))
        except (OSError, BcsError) as error:
            found.append(error.message if isinstance(error, BcsError) else os.strerror(error.errno or 0))
        return found

    def _lost_links(self, node: Node) -> Iterator[bytes]:
        for name in node.names[1:]:
            if self._landing.named(name) not in self._failed and not is_one(node.names[0], name):
                yield self._landing.named(name)


def content_differences(path: bytes, node: Node, start: int) -> Iterator[str]:
    """What differs in the bytes from `start` on; up to the end of the file if this is its last batch."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        drop_pages(fd)
        for extent in node.extents:
            data = os.pread(fd, extent.length, extent.offset)
            if len(data) != extent.length or blake3(data).digest(HASH_BYTES) != extent.hash:
                yield f"content at byte {extent.offset}"
                return
        end = node.attributes.size if node.attributes is not None else None
        covered = [(extent.offset, extent.length) for extent in node.extents]
        for first, last in between(covered, start, end):
            at = first_not_zero(fd, first, last)
            if at is not None:
                yield f"content at byte {at}"
                return
    finally:
        os.close(fd)
