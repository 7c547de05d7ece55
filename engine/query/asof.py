"""Which rows make up the state at a position, and the proof that none of them is missing.

The rows are those of the latest checkpoint on the lineage and of the segments after it. Before
anything is read from them, the LSNs from the checkpoint to the position are counted: the state
is handed out whole or not at all.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.format.names import CheckpointName
from engine.journal import checkpoints
from engine.model.errors import Damaged
from engine.model.ids import Position
from engine.model.lineage import Lineage, lineage, until
from engine.query import sql
from engine.query.held import Range
from engine.query.session import Session
from engine.store.base import Missing


@dataclass(frozen=True, slots=True)
class AsOf:
    """The events of `stream` that count at `position`, along `line`.

    `events` is their relation in SQL: checkpoint rows and later events, duplicates among them.
    `later` is the relation of the events after the checkpoint alone.
    """

    stream: str
    position: Position
    line: Lineage
    checkpoint: CheckpointName | None
    events: str
    later: str


def as_of(session: Session, stream: str, position: Position) -> AsOf:
    """The events that count at a position, proved to be complete once in a session. Damaged when they are not."""
    return session.keep(("as of", stream, position), lambda: resolve(session, stream, position))


def resolve(session: Session, stream: str, position: Position) -> AsOf:
    """Find the rows and prove them complete. Damaged names what is missing; NothingThere an unknown epoch."""
    line = until(lineage(session.epochs(stream), position.epoch), position)
    for checkpoint in reversed(checkpoints.checkpoints(session.journal, stream)):
        if not any(span.holds(checkpoint.position) for span in line):
            continue
        try:
            if checkpoints.read_footer(session.journal, checkpoint).line != until(line, checkpoint.position):
                continue
            found = _relation(session, stream, position, line, checkpoint)
        except (Damaged, Missing):
            continue  # a checkpoint only saves work: the events themselves are there
        _refuse_when_incomplete(session, found)
        if not _refers_to_dropped(session, found):
            return found
    found = _relation(session, stream, position, line, None)
    _refuse_when_incomplete(session, found)
    return found


def whole_line(session: Session, stream: str, position: Position, lsn_after: int = 0) -> str:
    """The relation of all events of the lineage up to a position and after an LSN, without a checkpoint."""
    line = until(lineage(session.epochs(stream), position.epoch), position)
    return _segments(session, stream, line, lsn_after)


def is_covered(session: Session, stream: str, position: Position, lsn_after: int = 0) -> bool:
    """Whether the footers of segments that were found whole say that they hold every event of the lineage up to a
    position and after an LSN. A footer stands in the object that its content hash covers, so its word is as good as
    its rows are; but a gap in it may only be a gap in what it says."""
    line = until(lineage(session.epochs(stream), position.epoch), position)
    ranges = session.held.ranges.get(stream, ())
    for span in line:
        need = max(span.lsn_first, lsn_after + 1)
        for one in sorted((each.lsn_first, each.lsn_last) for each in ranges if each.epoch == span.epoch):
            if one[0] > need:
                break
            need = max(need, one[1] + 1)
        if span.lsn_last is not None and need <= span.lsn_last:
            return False
    return True


def _relation(
    session: Session, stream: str, position: Position, line: Lineage, checkpoint: CheckpointName | None
) -> AsOf:
    later = _segments(session, stream, line, checkpoint.position.lsn if checkpoint else 0)
    events = later
    if checkpoint:
        folded = sql.parquet([session.journal.files.path(checkpoint.key)])
        events = f"(SELECT * FROM {folded} UNION ALL SELECT * FROM {later})"
    return AsOf(stream, position, line, checkpoint, events, later)


def _segments(session: Session, stream: str, line: Lineage, lsn_after: int) -> str:
    ranges = [one for one in session.held.ranges.get(stream, ()) if _touches(one, line, lsn_after)]
    spans = " OR ".join(
        f"(epoch = {span.epoch} AND lsn BETWEEN {max(span.lsn_first, lsn_after + 1)} AND {span.lsn_last})"
        for span in line
        if span.lsn_last is None or span.lsn_last > lsn_after
    )
    keys = sorted({one.key for one in ranges})
    if not keys or not spans:
        return f"(SELECT * FROM {_no_events(session)})"
    paths = [session.journal.files.path(key) for key in keys]
    return f"(SELECT * FROM {sql.parquet(paths)} WHERE stream = {sql.quoted(stream)} AND ({spans}))"


def _no_events(session: Session) -> str:
    session.keep("no events", lambda: session.rows(sql.text("no_events")))
    return "no_events"


def _touches(one: Range, line: Lineage, lsn_after: int) -> bool:
    return any(
        one.epoch == span.epoch
        and one.lsn_last >= max(span.lsn_first, lsn_after + 1)
        and (span.lsn_last is None or one.lsn_first <= span.lsn_last)
        for span in line
    )


def _refuse_when_incomplete(session: Session, found: AsOf) -> None:
    after = found.checkpoint.position.lsn if found.checkpoint else 0
    [(count,)] = session.rows(f"SELECT count(DISTINCT lsn) FROM {found.later}")
    if count != found.position.lsn - after:
        raise incomplete(session, found.stream, found.position, found.later, after)


def incomplete(session: Session, stream: str, position: Position, later: str, after: int) -> Damaged:
    """The error that names the events missing from `later` between LSN `after` and a position."""
    missing = session.rows(
        sql.fill("missing", events=later), {"lsn_after": after, "lsn_last": position.lsn, "ranges_max": 8}
    )
    suspects = [each.name for each in session.held.lost if each.may_hold(stream)]
    text = ", ".join(f"{first} to {last}" if first != last else str(first) for first, last in missing)
    objects = f"; damaged or not there: {', '.join(suspects[:4])}" if suspects else ""
    return Damaged(
        f"events {text} of stream {stream} are missing before {position}{objects}",
        hint="other points may be whole: `bcsctl check` lists what is damaged and what it affects",
        details={
            "stream": stream,
            "position": str(position),
            "missing": [[first, last] for first, last in missing],
            "objects": suspects,
            "object": suspects[0] if suspects else None,
        },
    )


def _refers_to_dropped(session: Session, found: AsOf) -> bool:
    """Whether an event after the checkpoint speaks of a file that the checkpoint has let go.

    A checkpoint drops files that no name leads to. Should one be named or written again, its
    older events count again, and only the segments have them.
    """
    assert found.checkpoint is not None
    folded = sql.parquet([session.journal.files.path(found.checkpoint.key)])
    query = sql.fill("refers_to_dropped", checkpoint=folded, later=found.later)
    [(count,)] = session.rows(query, {"lsn": found.checkpoint.position.lsn})
    return bool(count)
