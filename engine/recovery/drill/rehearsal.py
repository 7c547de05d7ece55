"""One drill on this machine from beginning to end: what was there at the moment, restored to a directory or used there
while it is cold, looked at, measured.

It touches nothing but that directory. What goes wrong is a row of the evidence, and the rest is still looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.env.clock import Clock
from engine.journal.open import Journal
from engine.model.counts import counted
from engine.model.errors import BcsError, Damaged, Refused, VerificationFailed
from engine.model.policy.drills import LATEST
from engine.model.times import SECOND
from engine.query.session import Session
from engine.recovery.drill import cold
from engine.recovery.drill import evidence as found
from engine.recovery.drill.checks import Back, rows_of
from engine.recovery.drill.cold import Filling
from engine.recovery.drill.evidence import Evidence, Row
from engine.recovery.drill.scene import Asked, Told, scene_of
from engine.recovery.drill.sources import failed, moment_of, prepared, restored, stored_bytes
from engine.recovery.drill.vouched import vouched
from engine.recovery.restore import Helping
from engine.recovery.restoring import Outcome, Prepared, carry_out
from engine.recovery.word import Word
from engine.tree.clearing import refuse_without_room
from engine.tree.paths import shown

HEARSAY = 3 * SECOND
"""Agents say every second or two how far their sources are complete: an RPO is known no better than that."""


@dataclass(frozen=True, slots=True)
class Hands:
    """What helps: processes that restore, and what fillers of trees on demand need."""

    helping: Helping | None = None
    filling: Filling | None = None


def rehearse(
    journal: Journal,
    asked: Asked,
    place: Path,
    host: str,
    words: Mapping[str, Word],
    told: Told,
    hands: Hands,
    clock: Clock,
) -> Evidence:
    """The evidence of one drill, made in the directory `place` of `host`. `words` are the node's on sources, by
    address. Refused when there is no room, NothingThere for a moment of nobody's policy that is not there."""
    began, now = clock.monotonic(), clock.now()
    where = {"host": host, "dir": str(place)}
    with Session(journal) as session:
        evidence = Evidence(asked.id, asked.policy, asked.drill, asked.moment, None, now, where)
        told("looking", 0, 0)
        moment = moment_of(session, asked, now)
        evidence.moment = now if asked.moment == LATEST else moment.at
        ready = list(prepared(journal, session, asked, moment, place, words, now, evidence))
        needed = sum(each.plan.bytes for _, each in ready)
        try:
            refuse_without_room(place, needed)
        except Refused:
            needed = sum(stored_bytes(session, each) for _, each in ready)
            refuse_without_room(place, needed)
        may = vouched(journal, asked.policy)
        if asked.on_demand:
            scene = cold.Cold(journal, session, asked, place, words, evidence, told, clock, began)
            cold.rehearse(scene, ready, hands.filling, may)
        else:
            back = _restored(journal, session, ready, words, evidence, told, hands.helping, clock)
            if len(back) == len(asked.policy.sources):
                evidence.rto_seconds = round(clock.monotonic() - began, 3)
            evidence.checks += rows_of(
                journal, session, asked.checks, back, scene_of(asked, place, evidence), told, clock, may
            )
    evidence.checks += found.objectives(evidence, HEARSAY)
    evidence.seconds = clock.monotonic() - began
    return evidence


def _restored(
    journal: Journal,
    session: Session,
    ready: Sequence[tuple[str, Prepared]],
    words: Mapping[str, Word],
    evidence: Evidence,
    told: Told,
    helping: Helping | None,
    clock: Clock,
) -> list[Back]:
    """What came back whole. Of each source there is a row."""
    total, back = sum(each.plan.bytes for _, each in ready), []
    done = 0

    def more(files: int, count: int) -> None:
        nonlocal done
        done += count
        told("restoring", done, total)

    for address, each in ready:
        try:
            outcome = carry_out(journal, session, each, verify=False, progress=more, helping=helping, clock=clock)
        except (BcsError, OSError) as error:
            evidence.checks.append(failed(address, str(error), isinstance(error, Damaged | VerificationFailed)))
            continue
        evidence.checks.append(_row(address, outcome))
        of_all = outcome.restored
        counts = (of_all.files, of_all.names, of_all.bytes_written)
        word = words.get(address, Word())
        evidence.sources.append(
            restored(session, address, each.stream.id, each.point, counts, outcome.seconds, word, evidence.moment)
        )
        if not of_all.failures:
            back.append(Back(address, each, outcome))
    return back


def _row(address: str, outcome: Outcome) -> Row:
    done = outcome.restored
    if not done.failures:
        text = f"{counted(done.files, 'file')} came back"
        return Row(found.RESTORE, True, text, outcome.seconds, address)
    path, why = done.failures[0]
    more = f", and {len(done.failures) - 1:,} more" if len(done.failures) > 1 else ""
    return Row(found.RESTORE, False, f"{shown(path)}: {why}{more}", outcome.seconds, address, differs=done.damaged)
