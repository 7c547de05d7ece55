"""The marks that end passes: their times and classes, bookmarks upon them, and how far the record is complete."""

from __future__ import annotations

from engine.agent.capture.outbox import Outbox
from engine.agent.kept.record import Record
from engine.agent.settings import Begun
from engine.agent.ship.shipper import Parcel
from engine.model.events import BASELINE, BOOKMARK, GAP
from engine.model.points import CRASH, QUIET

BOOKMARK_TRIES = 20


class Marks:
    """One session's marks. `last_class` and `last_lsn` are of the latest."""

    def __init__(self, begun: Begun, record: Record, outbox: Outbox) -> None:
        self._begun, self._record, self._outbox = begun, record, outbox
        self._asked, self._view = begun.asked, begun.view
        self._now = begun.settings.site_clock.now
        self.last_class = QUIET
        self.last_lsn = outbox.builder.lsn_next - 1

    @property
    def changed(self) -> bool:
        """Whether there are events since the latest mark."""
        return self._outbox.builder.lsn_next - 1 > self.last_lsn

    @property
    def asked(self) -> bool:
        """Whether someone waits for a bookmark. Who does no more, after a while, gets none."""
        for mark in [mark for mark in self._asked if not mark.lsn and 0 < mark.until < self._now()]:
            self._begun.tell_mark(mark, "the agent came to it too late")
        return any(not mark.lsn for mark in self._asked)

    def gap(self, at: int, reason: str, gap_from: int) -> None:
        """Changes may have been missed since `gap_from`; what follows is what there is at `at`."""
        self._outbox.builder.mark(at, GAP, reason, "", gap_from)

    def mark(self, kind: str, point_class: str, at: int, through_at: int) -> None:
        """A point. It is complete up to `through_at`, 0 for nothing new about that."""
        self.last_lsn = self._outbox.builder.mark(at, kind, "", point_class)
        self.last_class = point_class
        if kind == BASELINE:
            self._record.set_fact("baseline_lsn", self.last_lsn)
        self._record.set_fact("mark_at", at)
        self._record.set_fact("mark_lsn", self.last_lsn)
        self.complete_through(through_at)

    def complete_through(self, at: int) -> None:
        """The record is what there was at `at`."""
        self._record.set_fact("through_at", max(at, self._record.fact("through_at", 0)))

    def bookmark(self, at: int, *, settle: bool) -> None:
        """Name the point that was just marked, if anyone asked; with `settle` whatever its class, else a quiet one if
        there is one to be had soon."""
        for asked in [asked for asked in self._asked if not asked.lsn]:
            if self.last_class != CRASH and asked.wants_crash:
                continue  # it came when this pass had begun: a crash point is still to be tried
            if self.last_class != CRASH and asked.must_crash:
                self._begun.tell_mark(asked)
                continue
            asked.tries += 1
            if settle or asked.tries >= BOOKMARK_TRIES:
                asked.lsn = self.last_lsn = self._outbox.builder.mark(at, BOOKMARK, asked.label)
                asked.point_class = self.last_class
                if self.last_class == CRASH:
                    asked.reason = ""

    def acknowledged(self, parcel: Parcel) -> None:
        """The node has everything up to this batch: bookmarks in it are done, and so may be the baseline."""
        # Not this batch's alone: one before it may say more, and have been acknowledged since anyone looked.
        through_at = self._record.acknowledge(parcel.lsn_last, parcel.hash)
        self._view.through_at = max(self._view.through_at, through_at)
        self._view.acknowledged_at = self._now()
        self.note_baseline()
        for mark in [mark for mark in self._asked if 0 < mark.lsn <= parcel.lsn_last]:
            self._begun.tell_mark(mark)

    def drop_unclosed(self) -> None:
        """The session ends: bookmarks in a batch that was not closed were not set."""
        for mark in self._asked:
            if mark.lsn >= self._outbox.builder.lsn_first:
                mark.lsn, mark.point_class = 0, ""

    def note_baseline(self) -> None:
        """Show that the baseline is restorable, once it is."""
        record, view = self._record, self._view
        if not view.baseline_done and 0 < record.fact("baseline_lsn", 0) <= record.fact("acked_lsn", 0):
            view.files, view.bytes = record.counts()
            view.baseline_done = True
