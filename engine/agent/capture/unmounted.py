"""File systems that belong to the source and are not mounted: what was on them is kept as it was, and that is told.

An unmount deletes nothing. So where a path of the source, a directory above one or a mount point below one is missing
or empty, and what was mounted there is not mounted as it was, nothing is taken for gone. This ends as soon as the
mount is back, or something lies there: what can be seen at a path is what the path holds. See docs/decisions/0017.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from itertools import islice

from engine.agent.kept.record import Known, Record
from engine.agent.watch.mounts import lasting, mount_table, mounted_at
from engine.drivers.files import Scope, within

NEVER_MISSED = frozenset({b"lost+found"})
"""Names that a file system begins with: one with nothing else is empty."""

Where = tuple[int, bytes]


class Unmounted:
    """`held` are the names whose file systems are missed, with their paths in the tree; `points` the paths that may be.

    Which mounts there were is kept in the record, so that it is known after a restart.
    """

    def __init__(self, record: Record, scope: Scope, table: Callable[[], bytes] = mount_table) -> None:
        self._record, self._scope = record, scope
        self._table: Callable[[], bytes] = lambda: lasting(table())
        self._known: dict[bytes, str] = {
            os.fsencode(point): what for point, what in json.loads(record.fact("mounts", "{}")).items()
        }
        self.held: dict[Where, bytes] = {}
        self.points = self._points()

    def _points(self) -> frozenset[bytes]:
        """Paths of the tree at which a file system may be missed."""
        found = {*self._scope.roots, *self._scope.stems}
        for root in self._scope.roots:
            real = self._scope.real(root)
            found.update(root + point[len(real) :] for point in self._known if within(point, real) and point != real)
        return frozenset(found)

    def begin(self) -> None:
        """Everything is about to be looked at."""
        self.held = {}

    def holds(self, where: Where, path: bytes) -> bool:
        """Whether what the record has at this name (one of `points`) is to be kept though it isn't there."""
        if where in self.held:
            return True
        if not self._missed(path) or not self._has_something(*where):
            return False
        self.held[where] = path
        return True

    def covers(self, path: bytes) -> bool:
        """Whether a path lies where a file system is missed: nothing there is to be looked at."""
        return any(within(path, held) for held in self.held.values())

    def ended(self) -> bool:
        """Whether something that was missed is back, or something else lies there."""
        return any(not self._missed(path) for path in self.held.values())

    def note(self) -> None:
        """Everything was looked at: these are the mounts that hold the source. What is missed is still known."""
        held = [self._scope.real(path) for path in self.held.values()]
        missed = {self._mount_of(real) for real in held}
        kept = {
            point: what
            for point, what in self._known.items()
            if point in missed or any(within(point, real) for real in held)
        }
        roots = [self._scope.real(root) for root in self._scope.roots]
        self._known = {**mounted_at(roots, self._table()), **kept}
        self._record.set_fact("mounts", json.dumps({os.fsdecode(point): what for point, what in self._known.items()}))
        self.points = self._points()

    def told(self) -> str:
        """What is missed, in a sentence; empty when nothing is."""
        if not self.held:
            return ""
        paths = ", ".join(sorted(os.fsdecode(path) for path in self.held.values()))
        return f"the file system at {paths} is not mounted: what was there is kept as it was"

    def _mount_of(self, real: bytes) -> bytes | None:
        """The mount that the record has for a path on disk; None for `/`, which nobody unmounts."""
        return max((point for point in self._known if point != b"/" and within(real, point)), key=len, default=None)

    def _missed(self, path: bytes) -> bool:
        """Whether nothing is at the path, and another file system than the one that was, or none, is mounted for it."""
        real = self._scope.real(path)
        point = self._mount_of(real)
        if point is None or mounted_at([real], self._table()).get(point) == self._known[point]:
            return False
        try:
            names = set(os.listdir(real))
        except FileNotFoundError:
            return True
        except OSError:
            return False
        wanted = self._scope.names(path)
        return not (names & wanted if wanted is not None else names - NEVER_MISSED)

    def _has_something(self, directory: int, name: bytes) -> bool:
        known = self._record.name(directory, name)
        if not isinstance(known, Known):
            return False
        names = islice(self._record.each_name(known.file_id), 2)
        return known.mode >> 12 != 4 or any(each not in NEVER_MISSED for each in names)
