"""The pass loop: after the catch-up that begins a session, one pass after the other.

An event starts a nap, the nap lets more of them gather, then everything dirty is looked at and what differs is closed
into a batch that ends in a `pass` mark. The mark is `quiet` when nothing happened in the nap, during the look and in
the drain after it, nor was a write under way meanwhile (`engine.agent.points.under_way` says how far that can be
known): then the state has held since the last event, and that is the time the mark bears. Where the look found a
directory that was not watched yet, the events in it went unseen: then the mark bears the time of the last drain. A
watcher that only ever scans sees no events at all: nothing is quiet to it, or complete after its last look.
"""

from __future__ import annotations

from engine.agent.catching_up import NOT_MOUNTED, catch_up
from engine.agent.endings import EXCHANGED, Resync, Stopped
from engine.agent.kept.spool import SpoolDamaged
from engine.agent.parts import Parts
from engine.agent.points.taking import CrashPoints
from engine.agent.priority import Priority
from engine.agent.recovered import taking
from engine.agent.ship.client import CopyRefused
from engine.agent.watch.choose import better_than
from engine.env.crash import crash
from engine.model.events import PASS
from engine.model.points import FUZZY, QUIET
from engine.model.times import SECOND

NAP_SECONDS = 0.02
NAP_SLICES = 5
NAP_GROWS_WITH, NAP_SECONDS_MAX = 100, 1.0
BUSY_SECONDS, PAUSE_SECONDS = 1.0, 0.05
"""After so long without such a pause a nap is half as long again: fewer batches, and fewer syncs beside those of the
application."""
MUCH_BYTES, MUCH_BYTES_A_NAME = 4 << 20, 1 << 20
MORE_SECONDS = 0.004
"""After a pass that found so much new, in few files, no nap if more comes so soon: batches are large without one, and
the node would stand idle meanwhile."""
STRANGERS_SECONDS_MAX = 0.04
"""How long others' changes may gather at most before they are read, should there be none of ours among them."""
WAIT_SECONDS = 0.2
AGAIN_SECONDS = 0.05
BREATHE_SECONDS = 0.005
HOUSEKEEPING_SECONDS = 1.0
LET_GO_SECONDS = 0.1
UNREADABLE_RETRY_SECONDS = 10.0
UNREADABLE_SHOWN = 20
STOP_SECONDS = 3.0
PASS_SECONDS_MAX_WHEN_STOPPING = 1.0


def nap_seconds(waiting: int) -> float:
    """How long to let changes gather while so many batches wait: the more do, the larger the next should be, since each
    takes memory until it is acknowledged."""
    return min(NAP_SECONDS * (1 + waiting / NAP_GROWS_WITH), NAP_SECONDS_MAX)


class Live:
    """One session's capturing. `begin` first, then `run` until it is stopped or something fails."""

    def __init__(self, parts: Parts) -> None:
        self._parts, begun = parts, parts.begun
        self._settings, self._view, self._stopping = begun.settings, begun.view, begun.stopping
        self._record, self._outbox, self._shipper = parts.record, parts.outbox, parts.shipper
        self._capture, self._hints, self._marks = parts.capture, parts.hints, parts.marks
        self._clock, self._site = begun.settings.clock, begun.settings.site_clock
        self._outbox.breathe = self._breathe
        self._crash_points = CrashPoints(parts)
        self._priority = Priority(lambda: self._settings.objective_seconds, self._clock.monotonic)
        self._breathed = self._let_go_looked = 0.0
        self._kept_house = self._looked_at_stems = self._retried = 0.0
        self._stopping_since = 0.0
        self._busy_since = self._passed_at = 0.0
        self._much_new = False
        self._finishing = False

    def begin(self, reason: str) -> None:
        """Look at everything; `reason` as in `catch_up`."""
        catch_up(self._parts, reason)

    def run(self) -> None:
        """Capture until the source is stopped."""
        strangers = 0
        while True:
            woke = self._parts.watcher.wait(self._wait_seconds())
            if self._stopping.is_set():
                break
            self._housekeeping()
            if self._pass() or not woke:
                strangers = 0
            else:
                # What others do on the same file system wakes us too: reading that eagerly would cost them and us.
                strangers += 1
                self._clock.sleep(min(strangers * NAP_SECONDS / 2, STRANGERS_SECONDS_MAX))
        self._finishing = True
        self._priority.at_once()
        self._pass()
        crash("last-pass-made")
        self._record.set_fact("clean", 1)
        self._shipper.wait_until(0, STOP_SECONDS if self._parts.reopen() else 0)
        self._take_acknowledgements()
        crash("ending")
        self._record.commit()
        crash("ended")

    def _wait_seconds(self) -> float:
        return AGAIN_SECONDS if self._capture.pending.again or self._hints.dirty or self._hints.own else WAIT_SECONDS

    # One pass.

    def _pass(self) -> bool:
        """Drain, nap, look, mark; whether there was anything to look at. If not, the state is complete up to now."""
        hints, capture = self._hints, self._capture
        if not self._finishing:
            self._priority.keep(self._lag_seconds(), self._much_new)
        hints.eventful = capture.registered = False
        hints.unannounced &= bool(hints.dirty)  # what was drained between passes is this one's
        hints.drain()
        polled = self._due_again()
        asked = self._marks.asked
        if self._crash_points.wanted_now():
            self._priority.at_once()  # applications wait while a file system is frozen
            if self._crash_points.take():
                return True
        if hints.all_of_it or (asked and hints.blind):
            if hints.remounted:
                self._watch_better(hints.why_missed)
            catch_up(self._parts, hints.why_missed)
            if asked and hints.blind:
                self._end_pass(0, polled, asked)
            return True
        if not (hints.dirty or hints.own or polled or asked):
            self._idle()
            self._view.pending = self._waiting()  # what waited at a pass's end may be acknowledged since
            return False
        if hints.eventful or self._site.now() - hints.last_event_at < NAP_SECONDS * SECOND:
            hints.eventful = self._nap()
        through_at = hints.drained_at
        if hints.all_of_it:
            return True
        crash("events-gathered")
        capture.under_way.begin(hints.drained_wall_ns)
        self._look()
        crash("looked")
        if polled:
            self._parts.walk.stems()
            capture.finish()
        if not (hints.eventful or hints.blind):
            capture.pending.again |= capture.under_way.found()
        hints.drain()
        self._end_pass(through_at, polled, asked)
        self._passed_at = self._clock.monotonic()
        return True

    def _watch_better(self, reason: str) -> None:
        """What stood in a better watcher's way may have gone: the next session opens that one."""
        begun = self._parts.begun
        if self._settings.watch is None and better_than(self._parts.watcher.mechanism, self._settings.scope.roots):
            begun.weaker_than = None
            raise Resync(reason)

    def _look(self) -> None:
        traffic, (names, directories) = self._settings.traffic, self._hints.take()
        before = traffic.changed
        self._capture.look(names, directories)
        self._much_new = traffic.changed - before >= max(MUCH_BYTES, len(names) * MUCH_BYTES_A_NAME)

    def _nap(self) -> bool:
        """Let what belongs together come together; whether more came meanwhile.

        Drained in slices, since the time of the last event is the time that a quiet point bears.
        """
        if self._much_new and self._parts.watcher.wait(MORE_SECONDS) and self._hints.drain():
            return True
        now = self._clock.monotonic()
        if now - self._passed_at > PAUSE_SECONDS:
            self._busy_since = now
        busy = now - self._busy_since > BUSY_SECONDS
        more, nap = False, nap_seconds(self._shipper.waiting) * (1.5 if busy else 1.0)
        nap = max(nap, self._priority.gather_seconds)
        for _ in range(NAP_SLICES):
            self._clock.sleep(nap / NAP_SLICES)
            more |= self._hints.drain()
        return more

    def _end_pass(self, through_at: int, polled: bool, asked: bool) -> None:
        outbox, pending, hints, marks = self._outbox, self._capture.pending, self._hints, self._marks
        if hints.why_missed:
            # A point now would lack what was missed, and the gap begin at it: everything is looked at first, next.
            outbox.close_batch()
            return
        quiet = not (hints.blind or hints.eventful or pending.again or pending.later)
        changed = marks.changed
        if quiet:
            through_at = hints.drained_at
        elif pending.later or pending.behind or hints.blind:
            through_at = 0  # changes may be there, or are known and not looked at yet
        if self._capture.unmounted.held:
            through_at = 0  # nobody can look
        if changed or asked or (quiet and marks.last_class == FUZZY):
            since_event = quiet and not (polled or asked or hints.unannounced or self._capture.registered)
            at = hints.last_event_at if since_event else hints.drained_at if quiet else self._site.now()
            at = max(at, outbox.at)
            if changed:
                self._view.last_change_at = at
            marks.mark(PASS, QUIET if quiet else FUZZY, at, through_at)
            marks.bookmark(at, settle=quiet or hints.blind)
            crash("pass-marked")
            outbox.close_batch(at, through_at)
        elif quiet:
            self._idle()
        self._view.pending = self._waiting()

    def _idle(self) -> None:
        """Nothing is pending: what the record has is what there was when the watcher was last found empty, or at the
        last look of one that sees nothing."""
        if self._capture.pending.later or self._capture.unmounted.held:
            return
        if not self._hints.blind:
            self._marks.complete_through(self._hints.drained_at)
        if not self._shipper.waiting:
            self._view.through_at = self._record.fact("through_at")

    def _due_again(self) -> bool:
        """Add what is due to be looked at though no event says so; whether the stems are to be looked at too."""
        pending, hints, now = self._capture.pending, self._hints, self._clock.monotonic()
        due = {where for where, at in pending.later.items() if at <= now}
        for where in due:
            del pending.later[where]
        hints.dirty |= due | pending.again | pending.held
        pending.again, pending.held, pending.behind = set(), set(), False
        if now - self._looked_at_stems < HOUSEKEEPING_SECONDS:
            return False
        self._looked_at_stems = now
        if self._settings.scope.follow():
            raise Resync("a link on the way to the source leads elsewhere")
        if self._capture.unmounted.ended():
            raise Resync(NOT_MOUNTED)
        if self._capture.unreadable and now - self._retried > UNREADABLE_RETRY_SECONDS:
            self._retried = now
            self._retry_unreadable()
        return True

    def _retry_unreadable(self) -> None:
        capture = self._capture
        capture.unreadable.forget_the_gone()
        self._hints.dirty |= {where for where in capture.unreadable if where[1]}
        capture.to_scan += [directory for directory, name in capture.unreadable if not name]

    # Between looks, and between passes.

    def _breathe(self) -> None:
        """Between two looks: note the time of events, show progress, end when that is asked for."""
        now = self._clock.monotonic()
        if now - self._breathed < BREATHE_SECONDS:
            return
        self._breathed = now
        self._let_go()
        self._hints.drain()
        self._view.pending = self._waiting()
        if self._view.state == "baseline":
            self._view.files, self._view.bytes = self._parts.walk.files, self._capture.inodes.content.bytes_read
        self._check_shipper()
        if self._stopping.is_set() and not self._finishing:
            # A pass is soon over, and then the record is clean; catching up may take hours.
            self._stopping_since = self._stopping_since or now
            if self._view.state != "protected" or now - self._stopping_since > PASS_SECONDS_MAX_WHEN_STOPPING:
                raise Stopped

    def _let_go(self) -> None:
        """Held, soon after somebody has begun to recover a tree where the source is, or nobody guards one any more."""
        now = self._clock.monotonic()
        if now - self._let_go_looked >= LET_GO_SECONDS:
            self._let_go_looked = now
            self._outbox.sure()

    def _housekeeping(self) -> None:
        self._let_go()
        self._take_acknowledgements()
        view, now = self._view, self._clock.monotonic()
        self._check_shipper()
        if now - self._kept_house < HOUSEKEEPING_SECONDS:
            return
        self._kept_house = now
        if taking.keep_house(self._parts):
            self._watch_better(EXCHANGED)
        if self._parts.reopen():
            view.message = self._shipper.message
        self._capture.forget_the_left()
        self._record.commit(lazily=True)
        crash("housekeeping-committed")
        self._parts.spool.release(self._record.first_spooled())
        view.pending, view.unreadable = self._waiting(), len(self._capture.unreadable)
        view.ranges = self._parts.writes.mechanism  # which is known once files were asked about
        view.costs = " ".join(filter(None, (self._parts.watcher.costs, self._parts.writes.costs)))
        view.pending_big_files, view.pending_big_bytes = self._capture.pending.big()
        view.miss(self._settings.scope)
        view.unreadable_paths = self._capture.unreadable.paths(UNREADABLE_SHOWN)

    def _lag_seconds(self) -> float:
        """How old the state is that the node has, if anything waits; 0 if nothing does."""
        through_at = self._view.through_at
        return (self._site.now() - through_at) / SECOND if through_at and self._waiting() else 0.0

    def _waiting(self) -> int:
        """How much is not looked at yet, or not acknowledged."""
        pending = self._capture.pending
        return len(self._hints.dirty) + len(pending.again) + len(pending.later) + self._shipper.waiting_events

    def _check_shipper(self) -> None:
        self._view.not_taken = self._shipper.message if self._shipper.refused else ""
        if self._shipper.trouble is not None:
            raise Resync("the node has another history")
        if self._shipper.copy_refused:
            raise CopyRefused(self._shipper.message)
        if self._shipper.spool_damaged:
            raise SpoolDamaged(self._shipper.message)

    def _take_acknowledgements(self) -> None:
        parcel = self._shipper.acknowledged
        if parcel is not None and parcel.lsn_last > self._record.fact("acked_lsn", 0):
            crash("acknowledgement-heard")
            self._marks.acknowledged(parcel)
            crash("acknowledgement-taken")
