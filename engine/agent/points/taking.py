"""Taking a crash point: the source is held still, everything that differs from the record is looked at, and the pass
ends in a mark of class `crash`.

What can differ when the hold begins is what was dirty then: events of everything that was done by then have been
raised, stores through mappings have been written back by the freeze and traced. A hold that does not last leaves an
ordinary pass, and the reason why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.agent.capture.pending import Where
from engine.agent.endings import Resync
from engine.agent.kept.record import signed
from engine.agent.parts import Parts
from engine.agent.points.elsewhere import looking_elsewhere
from engine.agent.points.freeze import Freeze, own_paths, thaw_what_was_left
from engine.agent.points.hold import Hold, NotHeld
from engine.agent.points.hooks import run_hook
from engine.agent.points.mapped import Number, mapped_files
from engine.agent.points.snapshot import Snapshot, delete_what_was_left
from engine.agent.points.wanted import Wanted
from engine.env.crash import crash
from engine.model.events import PASS
from engine.model.points import CRASH

ROUNDS_BEFORE, ROUNDS_WITHIN = 3, 6
LOOK_AT_ONCE = 200
TRY_AGAIN_SECONDS = 60.0
"""After a scheduled point could not be had; or the interval, where that is shorter."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A crash point that was taken at this site time; writers waited so long for it."""

    at: int
    how: str
    held_seconds: float


class CrashPoints:
    """One session's crash points."""

    def __init__(self, parts: Parts) -> None:
        self._parts, self._begun = parts, parts.begun
        self._settings, self._view = parts.begun.settings, parts.begun.view
        self._site, self._breathe = self._settings.site_clock, parts.outbox.breathe
        self._due_at = 0
        thaw_what_was_left(self._settings.directory)
        delete_what_was_left(self._settings.directory)

    @property
    def _wanted(self) -> Wanted:
        return self._settings.crash_points

    def wanted_now(self) -> bool:
        """Whether someone asks for one, or one is due by the policy."""
        hints, asked = self._parts.hints, [mark for mark in self._begun.asked if mark.wants_crash and not mark.lsn]
        if hints.blind:
            for mark in asked:
                mark.wants_crash, mark.reason = False, "changes of this source are found by scanning it alone"
        if hints.blind or hints.all_of_it or self._view.state != "protected":
            return False
        if self._begun.stopping.is_set() or self._parts.capture.unmounted.held:
            return False
        return bool(asked) or self._due()

    def _due(self) -> bool:
        every = int(self._wanted.every_seconds * 1_000_000)
        newest = self._parts.record.fact("crash_at", 0)
        self._view.crash_at = newest
        return bool(every) and self._site.now() >= max(newest + every, self._due_at)

    def take(self) -> Taken | None:
        """Take one now; None where that can't be done, and then `view.crash_message` says why."""
        view, asked = self._view, [mark for mark in self._begun.asked if mark.wants_crash and not mark.lsn]
        every = self._wanted.every_seconds
        self._due_at = self._site.now() + int(min(TRY_AGAIN_SECONDS, every or TRY_AGAIN_SECONDS) * 1_000_000)
        try:
            taken = self._taken()
        except NotHeld as error:
            view.crash_message = error.message
            for mark in asked:
                mark.wants_crash, mark.reason = False, error.message
            return None
        view.crash_at, view.crash_message, view.crash_held_seconds = taken.at, "", taken.held_seconds
        view.crash_how = taken.how
        self._parts.record.set_fact("crash_at", taken.at)
        return taken

    def _taken(self) -> Taken:
        if self._parts.capture.inodes.cold is not None:
            raise NotHeld("a recovery still fills this source")
        hold = self._hold()
        wanted = self._wanted
        try:
            self._look_at_what_there_is()
            if not isinstance(hold, Snapshot):
                hold.prepare()
            self._look_at_what_there_is()  # it took a while
            if wanted.before:
                run_hook("before", wanted.before, wanted.hook_seconds)
            crash("crash-point-prepared")
            mapped = self._mapped()
            through_at = self._site.now()
            hold.begin()
            crash("crash-point-held")
            at = self._site.now()
            self._look_at_also(mapped)
            if isinstance(hold, Snapshot):
                self._look_at_snapshot(hold)
            else:
                through_at = at
                self._look_within(hold)
        finally:
            try:
                hold.end()
            finally:
                if wanted.after:
                    run_hook("after", wanted.after, wanted.hook_seconds)
        if self._mapped().keys() - mapped:
            raise NotHeld("a file was mapped to be written to, just when the source was to be held still")
        return Taken(self._mark(at, through_at), hold.how, hold.held_seconds)

    def _hold(self) -> Hold:
        """A snapshot where one can be had, else a freeze where the policy allows it."""
        scope = self._settings.scope
        paths = [scope.real(root) for root in scope.roots]
        try:
            snapshot = Snapshot(paths, self._settings.directory, self._settings.stream)
            snapshot.prepare()
            return snapshot
        except NotHeld as error:
            if not self._wanted.freeze:
                raise NotHeld(
                    f"no snapshot: {error.message}; and the policy does not allow to freeze the file systems "
                    "(consistency: {freeze: allowed})"
                ) from error
        return Freeze(paths, own_paths(self._settings.directory, scope.own), self._settings.directory)

    def _look_at_what_there_is(self) -> None:
        """Leave little to be looked at while the source is held."""
        hints = self._parts.hints
        for _ in range(ROUNDS_BEFORE):
            hints.drain()
            if hints.all_of_it:
                return  # shows in the look within
            self._gather()
            if not hints.dirty and not hints.own:
                return
            self._parts.capture.look(*hints.take())

    def _mapped(self) -> dict[int, Number]:
        """What is mapped to be written to, by file_id."""
        numbers = [(number, self._parts.record.by_number(*signed(*number))) for number in mapped_files()]
        return {known.file_id: number for number, known in numbers if known is not None}

    def _look_at_also(self, mapped: dict[int, Number]) -> None:
        """All of it: a store into a page that was dirty already shows nowhere, and now all pages are clean."""
        for file_id, number in mapped.items():
            self._parts.writes.forget(*number)
            self._parts.hints.dirty.update(self._parts.record.places_of(file_id))

    def _look_at_snapshot(self, hold: Snapshot) -> None:
        """Look there at what is dirty, once: what comes later is not of it, and is looked at later."""
        hints, capture = self._parts.hints, self._parts.capture
        hints.drain()
        if hints.all_of_it:
            raise NotHeld("everything is to be looked at, which takes too long")
        self._gather()
        dirty, own = hints.take()
        names: set[Where] = set(dirty)
        try:
            with looking_elsewhere(self._parts, hold):
                for _ in range(ROUNDS_WITHIN):
                    capture.look(names, own)
                    names, own = capture.pending.again | set(capture.pending.later), set()
                    capture.pending.again = set()
                    capture.pending.later.clear()
                    if not names:
                        return
                    dirty |= names
                    capture.hurry()
        finally:
            hints.dirty |= dirty  # the source has gone on
            hints.own |= own
        raise NotHeld("files of a snapshot did not stand still")

    def _look_within(self, hold: Hold) -> None:
        outbox = self._parts.outbox

        def breathe() -> None:
            hold.check()
            self._breathe()

        outbox.breathe = breathe
        try:
            for number in range(ROUNDS_WITHIN):
                if not self._round(hold, number):
                    hold.check()
                    return
        finally:
            outbox.breathe = self._breathe
        raise NotHeld("files did not stand still though they were held")

    def _round(self, hold: Hold, number: int) -> bool:
        """Drain, and look at what is dirty; whether there was anything. What can't be looked at stays dirty."""
        hints, capture = self._parts.hints, self._parts.capture
        hints.drain()
        if hints.all_of_it:
            raise NotHeld("everything is to be looked at, which takes too long")
        self._gather()
        if not hints.dirty and not hints.own:
            return False
        before = self._parts.outbox.builder.lsn_next
        dirty, own = hints.take()
        try:
            for names in _slices(sorted(dirty), LOOK_AT_ONCE):
                hold.check()
                capture.look(names, ())
            capture.look((), own)
        except (NotHeld, Resync, OSError):
            hints.dirty |= dirty
            hints.own |= own
            raise
        if number > 1 and self._parts.outbox.builder.lsn_next > before:
            raise NotHeld("something changed the files though they were held")
        return True

    def _gather(self) -> None:
        """What is left over from earlier looks, paced files among them."""
        pending = self._parts.capture.pending
        self._parts.capture.hurry()
        self._parts.hints.dirty |= pending.again | pending.held | set(pending.later)
        pending.again, pending.held = set(), set()
        pending.later.clear()

    def _mark(self, at: int, through_at: int) -> int:
        marks, outbox = self._parts.marks, self._parts.outbox
        at = max(at, outbox.at)
        if marks.changed:
            self._view.last_change_at = at
        marks.mark(PASS, CRASH, at, through_at)
        marks.bookmark(at, settle=True)
        outbox.close_batch(at, through_at)
        return at


def _slices(names: Sequence[tuple[int, bytes]], count: int) -> list[Sequence[tuple[int, bytes]]]:
    return [names[first : first + count] for first in range(0, len(names), count)]
