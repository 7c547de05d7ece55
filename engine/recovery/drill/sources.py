"""What of a group's sources a drill may bring back, and what it says of each."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from engine.env.randomness import token_bytes
from engine.journal.open import Journal
from engine.model.errors import BcsError, Damaged, NothingThere
from engine.model.points import Moment, Point, parse_moment
from engine.model.policy.drills import LATEST, RANDOM
from engine.model.times import SECOND
from engine.plan.drills import any_moment
from engine.query import points, streams
from engine.query.session import Session
from engine.query.streams import StreamInfo
from engine.recovery.drill import evidence as found
from engine.recovery.drill.evidence import Evidence, Restored, Row
from engine.recovery.drill.scene import Asked, content_of
from engine.recovery.restoring import Prepared, pieces_of, prepare_for
from engine.recovery.word import Word

SHARE_BYTES = 6


def moment_of(session: Session, asked: Asked, now: int) -> Moment:
    """The moment that a drill asks for; for `random` any that all sources have."""
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


def answering(
    journal: Journal,
    session: Session,
    asked: Asked,
    moment: Moment,
    words: Mapping[str, Word],
    now: int,
    evidence: Evidence,
) -> Iterator[tuple[str, StreamInfo, Point]]:
    """Each source with the point that answers. Of one that has nothing for the moment there is a row."""
    for address in sorted(asked.policy.sources):
        try:
            stream = streams.find(journal, address)
            gap = words.get(address, Word()).gap if moment.at is not None else None
            yield address, stream, points.point_for(session, stream.id, moment, now, gap)
        except BcsError as error:
            note_missing(asked, moment, address, error, evidence)


def prepared(
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
    for address, stream, point in answering(journal, session, asked, moment, words, now, evidence):
        _, host, name = address.split("/")
        into = os.fsencode(content_of(place) / host / name)
        try:
            yield address, prepare_for(journal, session, stream, point, None, into)
        except BcsError as error:
            note_missing(asked, moment, address, error, evidence)


def note_missing(asked: Asked, moment: Moment, address: str, error: BcsError, evidence: Evidence) -> None:
    """A row for a source that can't come back. Who asked for a moment that is not there gets no drill, and has shown
    nothing: NothingThere."""
    if isinstance(error, NothingThere) and asked.drill is None and moment.text != LATEST:
        raise error
    why = f"{error.message} ({error.hint})" if error.hint else error.message
    evidence.checks.append(failed(address, why, isinstance(error, Damaged)))


def failed(address: str, why: str, differs: bool) -> Row:
    """The row of a source that did not come back."""
    return Row(found.RESTORE, False, why, 0.0, address, differs=differs)


def restored(
    session: Session,
    address: str,
    stream: str,
    point: Point,
    counts: tuple[int, int, int],
    seconds: float,
    word: Word,
    moment: int | None,
) -> Restored:
    """A source that came back, with `counts` of files, names and bytes, and what of the end would have been lost."""
    through = max(points.known_until(session, stream), word.through_at or 0)
    lost = None if moment is None else max(0, moment - through) / SECOND
    return Restored(
        *(address, stream, str(point.position), point.at, point.point_class),
        *counts,
        seconds,
        lost,
    )


def stored_bytes(session: Session, one: Prepared) -> int:
    """What a source takes on a disk: its data without its holes."""
    return sum(
        piece.length for pieces in pieces_of(session, one).values() for piece in pieces if piece.data is not None
    )
