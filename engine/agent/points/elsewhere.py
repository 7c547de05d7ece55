"""Looking at a snapshot as if it were the source: other paths, other device numbers, and nothing there to watch.

What is looked at there is dirty all the same afterwards: the source has gone on, and what appeared in it meanwhile is
not watched yet.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from engine.agent.kept.record import see_as, see_as_itself
from engine.agent.parts import Parts
from engine.agent.points.snapshot import Snapshot
from engine.agent.ranges.base import Unknown


class _Unwatched:
    """Takes the place of the watcher, and remembers what it was to watch."""

    def __init__(self) -> None:
        self.directories: set[int] = set()
        self.files: set[tuple[int, bytes]] = set()

    def add_directory(self, directory_id: int, path: bytes) -> None:
        self.directories.add(directory_id)

    def add_file(self, directory_id: int, name: bytes, path: bytes) -> None:
        self.files.add((directory_id, name))

    def remove_directory(self, directory_id: int) -> None:
        pass

    def remove_file(self, directory_id: int, name: bytes) -> None:
        pass


@contextmanager
def looking_elsewhere(parts: Parts, held: Snapshot) -> Iterator[None]:
    """As long as this lasts the parts look at the snapshot."""
    capture, scope = parts.capture, parts.begun.settings.scope
    unwatched: Any = _Unwatched()
    watcher, writes = capture.watcher, capture.inodes.writes
    seen, live = held.devices
    capture.watcher = capture.links.watcher = unwatched
    capture.inodes.writes = Unknown()
    see_as(seen, live)
    scope.look_elsewhere(held.elsewhere)
    try:
        yield
    finally:
        scope.look_elsewhere([])
        see_as_itself(seen)
        capture.watcher = capture.links.watcher = watcher
        capture.inodes.writes = writes
        capture.under_way.drop()
        capture.places.clear()
        capture.links.forget(unwatched.files)
        capture.to_scan += sorted(unwatched.directories)
        parts.hints.dirty |= unwatched.files
