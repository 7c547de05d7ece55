"""What the watcher's events said and nobody has looked at yet: names, directories, or everything.

On a whole file system there is much that isn't ours: files without a name that others make, such as a node's commits,
and names beside the source's paths. They must not make a quiet moment look busy.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping

from engine.agent.capture.pending import Where
from engine.agent.host.clock import SiteClock
from engine.agent.kept.record import Record, signed
from engine.agent.ranges.base import Writes
from engine.agent.watch.base import Watcher

DIRTY_MAX = 200_000
OVERFLOW = "event queue overflow"
REMOUNTED = "a file system was mounted or unmounted"


class Hints:
    """`dirty` names and `own` directories are to be looked at; `overflowed` and `everywhere` say: all of it.

    `eventful`: something happened since a pass set it to False, the last of it at `last_event_at` (site time).
    `unannounced`: some of it says no event, since a pass set it to False.
    `drained_at` is the last time that the watcher was asked, `drained_wall_ns` the same by the host's wall clock, as
    files are stamped: site time stands still for a while where it would go back. `blind`: it sees no events at all.
    """

    def __init__(
        self,
        watcher: Watcher,
        writes: Writes,
        record: Record,
        site: SiteClock,
        watched_stems: Mapping[int, frozenset[bytes]],
    ) -> None:
        self._watcher, self._writes, self._record = watcher, writes, record
        self._site, self._stems = site, watched_stems
        self.blind = watcher.mechanism == "scan"
        self.dirty: set[Where] = set()
        self.own: set[int] = set()
        self.overflowed = self.remounted = False
        self.everywhere = False
        self.eventful = False
        self.unannounced = False
        self.last_event_at = 0
        self.drained_at = self.drained_wall_ns = 0

    def drain(self) -> bool:
        """Take what the watcher has; whether any of it was ours."""
        self.drained_at, self.drained_wall_ns = self._site.now(), self._site.wall() * 1000
        drained = self._watcher.drain()
        self._take_writes()
        if drained.overflowed:
            self._writes.lose()
        if not drained:
            return False
        for dev, ino in drained.inodes:
            known = self._record.by_number(*signed(dev, ino))
            if known is not None:
                drained.dirty.update(self._record.places_of(known.file_id))
        if self._stems:
            drained.dirty = {
                each for each in drained.dirty if each[0] not in self._stems or each[1] in self._stems[each[0]]
            }
        if not (drained.dirty or drained.self_dirty or drained.overflowed):
            return False
        self.last_event_at = self._site.now()
        self.eventful = True
        if len(self.dirty) > DIRTY_MAX:
            # Looking at everything, a directory at a time, takes less memory than remembering where to look.
            self.dirty.clear()
            self.everywhere = True
        self.dirty |= drained.dirty
        self.own |= drained.self_dirty
        self.overflowed |= drained.overflowed
        self.remounted |= drained.remounted
        return True

    def _take_writes(self) -> None:
        """What the kernel traced of writes, and the files that are to be looked at though no event says so."""
        self._writes.take()
        for dev, ino in self._writes.dirty():
            known = self._record.by_number(*signed(dev, ino))
            # A directory that has taken over the inode number of a file has nothing that a look could compare.
            places = self._record.places_of(known.file_id) if known and stat.S_ISREG(known.mode) else []
            if places:
                self.unannounced = True
                self.dirty.update(places)
            else:
                self._writes.forget(dev, ino)

    @property
    def all_of_it(self) -> bool:
        """Whether everything is to be looked at."""
        return self.overflowed or self.everywhere

    @property
    def why_missed(self) -> str:
        """Why changes may have been missed; "" if none were, or if looking now and then is all that is done."""
        if self.blind or not self.overflowed:
            return ""
        return REMOUNTED if self.remounted else OVERFLOW

    def begin_anew(self) -> None:
        """Everything is about to be looked at."""
        self.remounted = self.overflowed = self.everywhere = self.eventful = False

    def take(self) -> tuple[set[Where], set[int]]:
        """The names and directories that are to be looked at now."""
        taken = self.dirty, self.own
        self.dirty, self.own = set(), set()
        return taken
