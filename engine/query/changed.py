"""When something of a source last changed: the newest event along its current lineage that is no mark.

Looked for from the end, a few segments at a time: however long a history is, the answer is mostly in its last one.
"""

from __future__ import annotations

from engine.model.events import DENTRY, EXTENT, INODE
from engine.model.lineage import Lineage, lineage
from engine.query import sql
from engine.query.held import Range
from engine.query.session import Session


def last_change_at(session: Session, stream: str) -> int | None:
    """Site time in microseconds, None when nothing has come yet."""

    def read() -> int | None:
        known = session.epochs(stream)
        if not known:
            return None
        line = lineage(known, max(known))
        left = [one for one in session.held.ranges.get(stream, ()) if _counts(line, one)]
        left.sort(key=lambda one: (one.epoch, one.lsn_first))
        count = 1
        while left:
            newest, left = left[-count:], left[:-count]
            if (found := _in(session, stream, line, newest)) is not None:
                return found
            count *= 2
        return None

    return session.reading(read)


def _counts(line: Lineage, one: Range) -> bool:
    """Whether a run of events has any of the lineage."""
    return any(
        one.epoch == span.epoch
        and one.lsn_last >= span.lsn_first
        and (span.lsn_last is None or one.lsn_first <= span.lsn_last)
        for span in line
    )


def _in(session: Session, stream: str, line: Lineage, runs: list[Range]) -> int | None:
    paths = [session.journal.files.path(key) for key in sorted({one.key for one in runs})]
    spans = " OR ".join(
        f"(epoch = {span.epoch} AND lsn >= {span.lsn_first}"
        + (")" if span.lsn_last is None else f" AND lsn <= {span.lsn_last})")
        for span in line
    )
    query = sql.fill("last_change", events=sql.parquet(paths), spans=spans)
    values = {"stream": stream, "dentry": DENTRY, "inode": INODE, "extent": EXTENT}
    [(at,)] = session.rows(query, values)
    return None if at is None else int(at)
