"""Building checkpoints: the state at a point, folded from the checkpoint before and the events since.

A checkpoint keeps the latest row of every name, unlinked ones among them, and attributes and
extents of every file that can be reached; extents that later ones cover whole are left out. A
file that can't be reached is let go; should it be named again, reads notice
(`engine.query.asof`) and go back to the segments.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from engine.format.parquet import as_events
from engine.format.schema import EVENTS
from engine.journal import checkpoints
from engine.journal.checkpoints import CheckpointFooter
from engine.model.lineage import lineage
from engine.model.points import Point
from engine.plan.checkpoint import due
from engine.query import asof, sql
from engine.query.asof import AsOf
from engine.query.overlay import visible
from engine.query.points import points
from engine.query.session import Session


def make_due(session: Session, now: int) -> list[str]:
    """Write the checkpoints that are due, of every stream with events. `now` in microseconds. Answers their keys."""
    made = (make_if_due(session, stream, now) for stream in sorted(session.held.ranges))
    return [key for key in made if key]


def build_checkpoint(session: Session, stream: str, point: Point) -> str:
    """Write the checkpoint at a recovery point, after proving that no event before it is missing. Answers its key.

    Raises Damaged when events are missing: then nothing is written.
    """

    def build() -> str:
        as_of = asof.as_of(session, stream, point.position)
        rows = folded(session, as_of)
        previous = as_of.checkpoint.key if as_of.checkpoint else ""
        return checkpoints.put(
            session.journal, rows, CheckpointFooter(stream, point.position, point.at, as_of.line, previous)
        )

    return session.reading(build)


def folded(session: Session, as_of: AsOf) -> pa.Table:
    """The rows of a checkpoint, in the form of EVENTS, by kind, subject and LSN."""
    values = {"lsn": as_of.position.lsn}
    query = sql.fill("checkpoint_state", events=as_of.events)
    state = session.table(query, values)
    with session.lent("checkpoint_state", state) as name:
        extents = session.table(sql.fill("checkpoint_extents", events=as_of.events, state=name), values)
    rows = pa.concat_tables([_as_stored(state), _as_stored(_needed(extents))])
    return rows.sort_by([("kind", "ascending"), ("subject", "ascending"), ("lsn", "ascending")])


def _as_stored(table: pa.Table) -> pa.Table:
    return as_events(table.select(EVENTS.names))


def _needed(extents: pa.Table) -> pa.Table:
    """The extents that show at least one byte, whatever the file's size is."""
    crowded = pc.greater(extents["crowd"], 1)
    if not pc.any(crowded).as_py():
        return extents
    order = [("subject", "ascending"), ("island", "ascending"), ("offset", "ascending")]
    table = extents.filter(crowded).sort_by(order)
    groups = list(zip(table["subject"].to_pylist(), table["island"].to_pylist(), strict=True))
    cuts = list(zip(table["offset"].to_pylist(), table["ends"].to_pylist(), table["lsn"].to_pylist(), strict=True))
    shown: set[int] = set()
    start = 0
    while start < len(cuts):
        stop = start + 1
        while stop < len(cuts) and groups[stop] == groups[start]:
            stop += 1
        shown.update(start + index for _, _, index in visible(cuts[start:stop]))
        start = stop
    return pa.concat_tables([extents.filter(pc.invert(crowded)), table.take(pa.array(sorted(shown), pa.int64()))])


def make_if_due(session: Session, stream: str, now: int) -> str:
    """One stream's checkpoint, if it is due. Answers its key, "" without one; raises Damaged."""
    epochs = session.epochs(stream)
    if not epochs:
        return ""
    line = lineage(epochs, max(epochs))
    there = checkpoints.checkpoints(session.journal, stream)
    last = next((name for name in reversed(there) if any(span.holds(name.position) for span in line)), None)
    lsn = last.position.lsn if last else 0
    head = max(one.lsn_last for one in session.held.ranges[stream] if one.epoch in {span.epoch for span in line})
    since = checkpoints.read_footer(session.journal, last).at if last else min(e.opened_at for e in epochs.values())
    if not due(head - lsn, now - since):  # cheap, from footers: most streams end here
        return ""
    newest = points(session, stream, limit=1)
    if not newest or not due(newest[0].position.lsn - lsn, now - since):
        return ""
    return build_checkpoint(session, stream, newest[0])
