"""One drill from beginning to end: what was there at the moment, restored to a directory, looked at, measured.

It touches nothing but that directory. What goes wrong is a row of the evidence, and the rest is still looked at.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.env.clock import Clock
from engine.env.randomness import token_bytes
from engine.journal.open import Journal
from engine.model.errors import BcsError, Damaged, NothingThere, Refused, VerificationFailed
from engine.model.extents import Piece
from engine.model.points import Moment, parse_moment
from engine.model.policy.drills import LATEST, RANDOM, Check
from engine.model.times import SECOND
from engine.plan.drills import GroupPolicy, any_moment
from engine.query import points, streams
from engine.query.session import Session
from engine.recovery.drill import evidence as found
from engine.recovery.drill.checks import Back, rows_of
from engine.recovery.drill.evidence import Evidence, Restored, Row
from engine.recovery.drill.place import refuse_without_room
from engine.recovery.drill.vouched import vouched
from engine.recovery.restore import Helping
from engine.recovery.restoring import Outcome, Prepared, carry_out, pieces_of, prepare_for
from engine.recovery.word import Word

HEARSAY = 3 * SECOND
"""Agents say every second or two how far their sources are complete: an RPO is known no better than that."""
SHARE_BYTES = 6

Told = Callable[[str, int, int], None]
"""Hears what is done now, and how many bytes of how many."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A drill that is to be made: the `drill`-th of the group's policy, None for one beside it. `moment` as `--at` has
    it, or `random`."""

    id: str
    policy: GroupPolicy
    drill: int | None
    moment: str
    checks: tuple[Check, ...]
    scratch: str = ""


def rehearse(
    journal: Journal,
    asked: Asked,
    place: Path,
    host: str,
    words: Mapping[str, Word],
    told: Told,
    helping: Helping | None,
    clock: Clock,
) -> Evidence:
    """The evidence of one drill, made in the directory `place` of `host`. `words` are the node's on sources, by
    address. Refused when there is no room, NothingThere for a moment of nobody's policy that is not there."""
    began, now = clock.monotonic(), clock.now()
    where = {"host": host, "dir": str(place)}
    with Session(journal) as session:
        evidence = Evidence(asked.id, asked.policy, asked.drill, asked.moment, None, now, where)
        told("looking", 0, 0)
        moment = _moment(session, asked, now)
        evidence.moment = now if asked.moment == LATEST else moment.at
        prepared = list(_prepared(journal, session, asked, moment, place, words, now, evidence))
        needed = sum(each.plan.bytes for _, each in prepared)
        try:
            refuse_without_room(place, needed)
        except Refused:
            needed = sum(_stored_bytes(session, each) for _, each in prepared)
            refuse_without_room(place, needed)
        back = _restored(journal, session, prepared, words, evidence, told, helping, clock)
        if len(back) == len(asked.policy.sources):
            evidence.rto_seconds = round(clock.monotonic() - began, 3)
        scene, may = _scene(asked, place, evidence), vouched(journal, asked.policy)
        evidence.checks += rows_of(journal, session, asked.checks, back, scene, told, clock, may)
    evidence.checks += found.objectives(evidence, HEARSAY)
    evidence.seconds = clock.monotonic() - began
    return evidence


def content_of(place: Path) -> Path:
    """Where in a drill's directory what came back lies, as HOST/SOURCE."""
    return place / "content"


def _moment(session: Session, asked: Asked, now: int) -> Moment:
    if asked.moment != RANDOM:
        return parse_moment(asked.moment, now)
    firsts, lasts, gaps = [], [], []
    for source in asked.policy.sources.values():
        table = points.table_of(session, source["stream"])
        rows = session.rows(f'SELECT min("at") FROM {table}') if table else []
        if rows and rows[0][0] is not None:
            firsts.append(rows[0][0])
            lasts.append(points.known_until(session, source["stream"]))
            gaps += points.gaps(session, source["stream"])
    share = int.from_bytes(token_bytes(SHARE_BYTES)) / (1 << 8 * SHARE_BYTES)
    at = any_moment(max(firsts), min(lasts), share, [gap.holds for gap in gaps]) if firsts else None
    return parse_moment(LATEST, now) if at is None else Moment(RANDOM, at=at)


def _prepared(
    journal: Journal,
    session: Session,
    asked: Asked,
    moment: Moment,
    place: Path,
    words: Mapping[str, Word],
    now: int,
    evidence: Evidence,
) -> Iterator[tuple[str, Prepared]]:
    """Each source with what is to come back of it. Of one that has nothing for the moment there is a row."""
    for address in sorted(asked.policy.sources):
        _, host, name = address.split("/")
        word = words.get(address, Word())
        into = os.fsencode(content_of(place) / host / name)
        try:
            stream = streams.find(journal, address)
            point = points.point_for(session, stream.id, moment, now, word.gap if moment.at is not None else None)
            yield address, prepare_for(journal, session, stream, point, None, into)
        except BcsError as error:
            if isinstance(error, NothingThere) and asked.drill is None and moment.text != LATEST:
                raise  # who asked for a moment that is not there gets no drill, and has shown nothing
            why = f"{error.message} ({error.hint})" if error.hint else error.message
            evidence.checks.append(_failed(address, why, isinstance(error, Damaged)))


def _restored(
    journal: Journal,
    session: Session,
    prepared: Sequence[tuple[str, Prepared]],
    words: Mapping[str, Word],
    evidence: Evidence,
    told: Told,
    helping: Helping | None,
    clock: Clock,
) -> list[Back]:
    """What came back whole. Of each source there is a row."""
    total, back = sum(each.plan.bytes for _, each in prepared), []
    done = 0

    def more(files: int, count: int) -> None:
        nonlocal done
        done += count
        told("restoring", done, total)

    for address, each in prepared:
        try:
            outcome = carry_out(journal, session, each, verify=False, progress=more, helping=helping, clock=clock)
        except (BcsError, OSError) as error:
            evidence.checks.append(_failed(address, str(error), isinstance(error, Damaged | VerificationFailed)))
            continue
        evidence.checks.append(_row(address, outcome))
        evidence.sources.append(_source(session, address, each, outcome, words.get(address, Word()), evidence.moment))
        if not outcome.restored.failures:
            back.append(Back(address, each, outcome))
    return back


def _row(address: str, outcome: Outcome) -> Row:
    done = outcome.restored
    if not done.failures:
        text = f"{done.files:,} {'file' if done.files == 1 else 'files'} came back"
        return Row(found.RESTORE, True, text, outcome.seconds, address)
    path, why = done.failures[0]
    more = f", and {len(done.failures) - 1:,} more" if len(done.failures) > 1 else ""
    text = f"{os.fsdecode(path).encode('utf-8', 'backslashreplace').decode()}: {why}{more}"
    return Row(found.RESTORE, False, text, outcome.seconds, address, differs=done.damaged)


def _failed(address: str, why: str, differs: bool) -> Row:
    return Row(found.RESTORE, False, why, 0.0, address, differs=differs)


def _source(
    session: Session, address: str, prepared: Prepared, outcome: Outcome, word: Word, moment: int | None
) -> Restored:
    point, done = prepared.point, outcome.restored
    through = max(points.known_until(session, prepared.stream.id), word.through_at or 0)
    lost = None if moment is None else max(0, moment - through) / SECOND
    return Restored(
        address,
        prepared.stream.id,
        str(point.position),
        point.at,
        point.point_class,
        done.files,
        done.names,
        done.bytes_written,
        outcome.seconds,
        lost,
    )


def _scene(asked: Asked, place: Path, evidence: Evidence) -> tuple[Path, dict[str, str]]:
    """(where commands run, what their environment says of the drill): in what came back of the only source, or in a
    directory with HOST/SOURCE of each."""
    content = content_of(place)
    if len(asked.policy.sources) == 1:
        [address] = asked.policy.sources
        content = content.joinpath(*address.split("/")[1:])
    of_drill = evidence.as_json()
    return content, {
        "BCS_DRILL_DIR": str(content),
        "BCS_DRILL_TMP": str(place / "tmp"),
        "BCS_DRILL_AT": of_drill["moment"] or asked.moment,
        "BCS_DRILL_GROUP": asked.policy.group,
        "BCS_DRILL_ID": asked.id,
    }


def _stored_bytes(session: Session, prepared: Prepared) -> int:
    """What a source takes on a disk: its data without its holes."""
    pieces: Mapping[int, Sequence[Piece]] = pieces_of(session, prepared)
    return sum(piece.length for of_file in pieces.values() for piece in of_file if piece.data is not None)
