"""Watching and capturing: the catch-up that begins a session, then one pass after the other.

An event starts a nap, the nap lets more of them gather, then everything dirty is looked at and what differs is closed
into a batch that ends in a `pass` mark. The mark is `quiet` when nothing happened in the nap, during the look and in
the drain after it: then the state has held since the last event, and that is the time the mark bears. Where the look
found a directory that was not watched yet, the events in it went unseen: then the mark bears the time of the last
drain. A watcher that only ever scans sees no events at all: nothing is quiet to it, or complete after its last look.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.agent.capture.look import Capture, Where
from engine.agent.capture.outbox import Outbox
from engine.agent.capture.places import Places
from engine.agent.capture.walk import Walk
from engine.agent.kept.record import Record, signed
from engine.agent.kept.spool import Spool, SpoolDamaged
from engine.agent.settings import Begun
from engine.agent.ship.shipper import Shipper
from engine.agent.watch.base import Watcher
from engine.model.events import BASELINE, BOOKMARK, GAP, PASS
from engine.model.points import FUZZY, QUIET

NAP_SECONDS = 0.02
NAP_SLICES = 5
WAIT_SECONDS = 0.2
AGAIN_SECONDS = 0.05
BREATHE_SECONDS = 0.005
HOUSEKEEPING_SECONDS = 1.0
UNREADABLE_RETRY_SECONDS = 10.0
UNREADABLE_SHOWN = 20
SETTLING_ROUNDS = 5
STOP_SECONDS = 3.0
BOOKMARK_TRIES = 20
DIRTY_MAX = 200_000
OVERFLOW = "event queue overflow"


class Stopped(Exception):
    """The source is to end."""


class Resync(Exception):
    """Open the stream again and look at everything; `reason` becomes the gap's label."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Live:
    """One session's capturing. `catch_up` first, then `run` until it is stopped or something fails."""

    def __init__(
        self,
        begun: Begun,
        record: Record,
        outbox: Outbox,
        spool: Spool,
        shipper: Shipper,
        watcher: Watcher,
        reopen: Callable[[], bool],
    ) -> None:
        """`reopen` tries to open the stream at the node if it isn't yet, and says whether it is."""
        settings = begun.settings
        self._settings, self._view, self._record, self._outbox = settings, begun.view, record, outbox
        self._spool, self._shipper, self._watcher = spool, shipper, watcher
        self._stopping, self._asked, self._reopen = begun.stopping, begun.asked, reopen
        self._clock, self._site = settings.clock, settings.site_clock
        places = Places(record, settings.scope)
        self._capture = Capture(settings.scope, record, outbox, watcher, settings.clock, places)
        self._walk = Walk(self._capture)
        self._capture.scan = self._walk.directories
        outbox.breathe = self._breathe
        self._dirty: set[Where] = set()
        self._own: set[int] = set()
        self._blind = watcher.mechanism == "scan"
        self._overflowed = False
        self._look_everywhere = False
        self._eventful = False
        self._last_event_at = 0
        self._drained_at = 0
        self._breathed = 0.0
        self._kept_house = self._looked_at_stems = self._retried = 0.0
        self._last_class = QUIET
        self._marked_lsn = outbox.builder.lsn_next - 1
        self._finishing = False

    # Events.

    def _drain(self) -> bool:
        """Take what the watcher has; whether any of it was ours.

        On a whole file system there is much that isn't: files without a name that others make, such as a node's
        commits, and names beside the source's paths. They must not make a quiet moment look busy.
        """
        self._drained_at = self._site.now()
        drained = self._watcher.drain()
        if not drained:
            return False
        for dev, ino in drained.inodes:
            known = self._record.by_number(*signed(dev, ino))
            if known is not None:
                drained.dirty.update(self._record.places_of(known.file_id))
        stems = self._walk.watched_stems
        if stems:
            drained.dirty = {each for each in drained.dirty if each[0] not in stems or each[1] in stems[each[0]]}
        if not (drained.dirty or drained.self_dirty or drained.overflowed):
            return False
        self._last_event_at = self._site.now()
        self._eventful = True
        if len(self._dirty) > DIRTY_MAX:
            # Looking at everything, a directory at a time, takes less memory than remembering where to look.
            self._dirty.clear()
            self._look_everywhere = True
        self._dirty |= drained.dirty
        self._own |= drained.self_dirty
        self._overflowed |= drained.overflowed
        return True

    def _breathe(self) -> None:
        """Between two looks: note the time of events, show progress, end when that is asked for."""
        now = self._clock.monotonic()
        if now - self._breathed < BREATHE_SECONDS:
            return
        self._breathed = now
        self._drain()
        self._view.pending = len(self._dirty) + self._shipper.waiting
        if self._view.state == "baseline":
            self._view.files, self._view.bytes = self._walk.files, self._capture.inodes.content.bytes_read
        self._check_shipper()
        if self._stopping.is_set() and not self._finishing:
            raise Stopped

    def _check_shipper(self) -> None:
        self._view.not_taken = self._shipper.message if self._shipper.refused else ""
        if self._shipper.trouble is not None:
            raise Resync("the node has another history")
        if self._shipper.spool_damaged:
            raise SpoolDamaged(self._shipper.message)

    # The beginning of a session, and an overflow.

    def catch_up(self, reason: str) -> None:
        """Look at everything. What it finds ends in the baseline's mark, or in a gap and a pass mark.

        `reason` says why changes may have been missed; "" that none were, so there is no gap: a watcher that only
        ever scans has its passes that far apart, and its `costs` say so.
        """
        record, outbox, view, site = self._record, self._outbox, self._view, self._site
        first = not record.fact("baseline_lsn")
        view.state = "baseline" if first else "catching-up"
        gap_from = max(record.fact("through_at", 0), record.fact("mark_at", 0))
        view.gap_from = gap_from if reason else 0
        outbox.direct = self._reopen()
        self._overflowed = self._look_everywhere = self._eventful = False
        before = outbox.builder.lsn_next
        self._drain()
        through_at = self._drained_at
        self._walk.everything()
        for _ in range(SETTLING_ROUNDS):
            self._drain()
            if not self._blind:
                through_at = self._drained_at
            if not self._dirty and not self._own:
                break
            self._look()
        for orphan in record.orphans():
            self._capture.forget(orphan)
        record.forget_stray_blocks()
        at = max(site.now(), outbox.at)
        pending = self._capture.pending
        unsure = self._blind or self._eventful or pending.again or pending.later
        point_class = FUZZY if unsure or not first else QUIET
        if pending.later:
            through_at = 0  # of these files changes are known and not looked at yet
        if gap_from and reason:
            outbox.builder.mark(at, GAP, reason, "", gap_from)
        if first or reason or outbox.builder.lsn_next > before:
            self._mark(BASELINE if first else PASS, point_class, at, through_at)
        record.set_fact("clean", 0)
        outbox.close_batch(at, through_at)
        outbox.direct = False
        view.state, view.gap_from = "protected", 0
        self._note_baseline()

    def _mark(self, kind: str, point_class: str, at: int, through_at: int) -> None:
        lsn = self._outbox.builder.mark(at, kind, "", point_class)
        self._last_class = point_class
        self._marked_lsn = lsn
        record = self._record
        if kind == BASELINE:
            record.set_fact("baseline_lsn", lsn)
        record.set_fact("mark_at", at)
        record.set_fact("through_at", max(through_at, record.fact("through_at", 0)))

    def _bookmark(self, at: int, quiet: bool) -> None:
        """Name the point that was just marked, if anyone asked; a quiet one if there is one to be had soon."""
        for asked in [asked for asked in self._asked if not asked.lsn]:
            asked.tries += 1
            if quiet or self._blind or asked.tries >= BOOKMARK_TRIES:
                asked.lsn = self._marked_lsn = self._outbox.builder.mark(at, BOOKMARK, asked.label)

    # Passes.

    def run(self) -> None:
        """Capture until the source is stopped."""
        while True:
            woke = self._watcher.wait(self._wait_seconds())
            if self._stopping.is_set():
                break
            self._housekeeping()
            if not self._pass() and woke:
                # What others do on the same file system wakes us too: reading that eagerly would cost them and us.
                self._clock.sleep(NAP_SECONDS / 2)
        self._finishing = True
        self._pass()
        self._record.set_fact("clean", 1)
        self._shipper.wait_until(0, STOP_SECONDS if self._reopen() else 0)
        self._take_acknowledgements()
        self._record.commit()

    def _wait_seconds(self) -> float:
        pending = self._capture.pending
        return AGAIN_SECONDS if pending.again or self._dirty or self._own else WAIT_SECONDS

    def _pass(self) -> bool:
        """Drain, nap, look, mark; whether there was anything to look at. If not, the state is complete up to now."""
        self._eventful = False
        self._capture.registered = False
        self._drain()
        polled = self._due_again()
        asked = any(not mark.lsn for mark in self._asked)
        if self._overflowed or self._look_everywhere or (asked and self._blind):
            self.catch_up(OVERFLOW if self._overflowed and not self._blind else "")
            if asked and self._blind:
                self._end_pass(0, polled, asked)
            return True
        if not (self._dirty or self._own or polled or asked):
            self._idle()
            self._view.pending = self._waiting()  # what waited at a pass's end may be acknowledged since
            return False
        if self._eventful:
            self._eventful = self._nap()
        through_at = self._drained_at
        if self._overflowed or self._look_everywhere:
            return True
        self._look()
        if polled:
            self._walk.stems()
            self._capture.finish()
        self._drain()
        self._end_pass(through_at, polled, asked)
        return True

    def _nap(self) -> bool:
        """Let what belongs together come together; whether more came meanwhile.

        Drained in slices, since the time of the last event is the time that a quiet point bears.
        """
        more = False
        for _ in range(NAP_SLICES):
            self._clock.sleep(NAP_SECONDS / NAP_SLICES)
            more |= self._drain()
        return more

    def _look(self) -> None:
        dirty, self._dirty = self._dirty, set()
        own, self._own = self._own, set()
        self._capture.look(dirty, own)

    def _end_pass(self, through_at: int, polled: bool, asked: bool) -> None:
        outbox, pending = self._outbox, self._capture.pending
        quiet = not (self._blind or self._eventful or pending.again or pending.later)
        changed = outbox.builder.lsn_next - 1 > self._marked_lsn
        if quiet:
            through_at = self._drained_at
        elif pending.later or self._blind:
            through_at = 0  # changes may be there, or are known and not looked at yet
        if changed or asked or (quiet and self._last_class == FUZZY):
            since_event = quiet and not (polled or asked or self._capture.registered)
            at = self._last_event_at if since_event else self._drained_at if quiet else self._site.now()
            at = max(at, outbox.at)
            if changed:
                self._view.last_change_at = at
            self._mark(PASS, QUIET if quiet else FUZZY, at, through_at)
            self._bookmark(at, quiet)
            outbox.close_batch(at, through_at)
        elif quiet:
            self._idle()
        self._view.pending = self._waiting()

    def _waiting(self) -> int:
        pending = self._capture.pending
        return len(self._dirty) + len(pending.again) + len(pending.later) + self._shipper.waiting_events

    def _due_again(self) -> bool:
        """Add what is due to be looked at though no event says so; whether the stems are to be looked at too."""
        pending, now = self._capture.pending, self._clock.monotonic()
        self._dirty |= pending.again
        pending.again = set()
        due = {where for where, at in pending.later.items() if at <= now}
        for where in due:
            del pending.later[where]
        self._dirty |= due
        if pending.held:
            self._dirty |= pending.held
            pending.held = set()
        if now - self._looked_at_stems < HOUSEKEEPING_SECONDS:
            return False
        self._looked_at_stems = now
        if self._settings.scope.follow():
            raise Resync("a link on the way to the source leads elsewhere")
        if self._capture.unreadable and now - self._retried > UNREADABLE_RETRY_SECONDS:
            self._retried = now
            self._capture.forget_unreadable()
            self._dirty |= {where for where in self._capture.unreadable if where[1]}
            self._capture.to_scan += [directory for directory, name in self._capture.unreadable if not name]
        return True

    def _idle(self) -> None:
        """Nothing is pending: what the record has is what there was when the watcher was last found empty."""
        if self._capture.pending.later or self._blind:
            return
        self._record.set_fact("through_at", max(self._drained_at, self._record.fact("through_at", 0)))
        if not self._shipper.waiting:
            self._view.through_at = self._record.fact("through_at")

    def _housekeeping(self) -> None:
        self._take_acknowledgements()
        view, now = self._view, self._clock.monotonic()
        self._check_shipper()
        if now - self._kept_house < HOUSEKEEPING_SECONDS:
            return
        self._kept_house = now
        if self._reopen():
            view.message = self._shipper.message
        self._capture.forget_the_left()
        self._record.commit(lazily=True)
        self._spool.release(self._record.first_spooled())
        view.pending, view.unreadable = self._waiting(), len(self._capture.unreadable)
        view.unreadable_paths = self._capture.unreadable_paths(UNREADABLE_SHOWN)

    def _note_baseline(self) -> None:
        """Show that the baseline is restorable, once it is."""
        record, view = self._record, self._view
        if not view.baseline_done and 0 < record.fact("baseline_lsn", 0) <= record.fact("acked_lsn", 0):
            view.files, view.bytes = record.counts()
            view.baseline_done = True

    def _take_acknowledgements(self) -> None:
        parcel, record, view = self._shipper.acknowledged, self._record, self._view
        if parcel is None or parcel.lsn_last <= record.fact("acked_lsn", 0):
            return
        record.acknowledge(parcel.lsn_last, parcel.hash)
        view.through_at = max(view.through_at, parcel.through_at)
        self._note_baseline()
        for mark in [mark for mark in self._asked if 0 < mark.lsn <= parcel.lsn_last]:
            self._asked.remove(mark)
            view.marks_done.append(mark.id)
