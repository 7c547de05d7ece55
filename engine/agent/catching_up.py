"""Catching up: everything is looked at, at the beginning of a session and after an overflow.

What it finds ends in the baseline's mark, or in a gap and a pass mark.
"""

from __future__ import annotations

from engine.agent.parts import Parts
from engine.agent.watch.mounts import hollow_points, mount_table
from engine.env.crash import crash
from engine.model.events import BASELINE, PASS
from engine.model.points import FUZZY, QUIET

SETTLING_ROUNDS = 5
NOT_MOUNTED = "a file system of the source was not mounted"


def catch_up(parts: Parts, reason: str) -> None:
    """Look at everything.

    `reason` says why changes may have been missed; "" that none were, so there is no gap: a watcher that only ever
    scans has its passes that far apart, and its `costs` say so.
    """
    record, outbox, view, marks = parts.record, parts.outbox, parts.begun.view, parts.marks
    first = not record.fact("baseline_lsn")
    view.state = "baseline" if first else "catching-up"
    unmounted = parts.capture.unmounted
    gap_from = max(record.fact("through_at", 0), record.fact("mark_at", 0))
    if missed_since := record.fact("unmounted_since", 0):
        reason, gap_from = reason or NOT_MOUNTED, min(gap_from, missed_since)
    view.gap_from, view.gap_reason = (gap_from, reason) if reason and gap_from else (0, "")
    outbox.direct = parts.reopen()
    before = outbox.builder.lsn_next
    with outbox.giving_way():
        through_at = look_at_everything(parts)
    crash("everything-looked-at")
    at = max(parts.begun.settings.site_clock.now(), outbox.at)
    pending = parts.capture.pending
    unsure = parts.hints.blind or parts.hints.eventful or pending.again or pending.later
    if pending.later or pending.behind or unmounted.held or parts.hints.why_missed:
        through_at = 0  # changes are known and not looked at yet, or nobody can look, or more was missed meanwhile
    record.set_fact("unmounted_since", gap_from if unmounted.held else 0)
    unmounted.note()
    if gap_from and reason:
        marks.gap(at, reason, gap_from)
    if first or reason or outbox.builder.lsn_next > before:
        marks.mark(BASELINE if first else PASS, FUZZY if unsure or not first else QUIET, at, through_at)
    elif through_at:
        marks.complete_through(through_at)
    record.set_fact("clean", 0)
    crash("catch-up-marked")
    outbox.close_batch(at, through_at)
    if not parts.shipper.waiting:
        view.through_at = record.fact("through_at", 0)
    crash("caught-up")
    outbox.direct = False
    view.miss(parts.begun.settings.scope)  # what was missed before the session may be there
    view.state, view.not_mounted = "protected", unmounted.told()
    view.gap_from, view.gap_reason = (gap_from, NOT_MOUNTED) if unmounted.held else (0, "")
    marks.note_baseline()


def look_at_everything(parts: Parts) -> int:
    """Bring the record in line with the disk; the time up to which it is complete then."""
    hints, record = parts.hints, parts.record
    hints.begin_anew()
    parts.capture.unmounted.begin()
    scope = parts.begun.settings.scope
    scope.keep_hollow(hollow_points([scope.real(root) for root in scope.roots], mount_table()))
    hints.drain()
    through_at = hints.drained_at
    under_way = parts.capture.under_way
    under_way.begin(hints.drained_wall_ns)
    parts.walk.everything()
    parts.capture.pending.again |= under_way.found()
    for _ in range(SETTLING_ROUNDS):
        hints.drain()
        if not hints.blind:
            through_at = hints.drained_at
        if not hints.dirty and not hints.own:
            break
        under_way.begin(hints.drained_wall_ns)
        parts.capture.look(*hints.take())
        parts.capture.pending.again |= under_way.found()
    parts.capture.forget(record.orphans())
    record.forget_stray_blocks()
    return through_at
