"""Single extents by their LSNs, for those who are told of content that a stream has already.

One look-up asks all of a batch, of the segments that hold those events alone. The segments are listed anew only when
the events are not among those that were listed last.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Collection, Mapping

from engine.journal.open import Journal
from engine.model.events import DataRef, Extent
from engine.model.ids import Position
from engine.model.lineage import Lineage, lineage
from engine.query import sql
from engine.query.session import Session

MEMORY = "256MB"


class CommittedExtents:
    """A look-up as `engine.journal.copies` wants it. For several threads; opens nothing before the first."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._lock = threading.Lock()
        self._session: Session | None = None

    def find(self, stream: str, epoch: int, lsns: Collection[int]) -> Mapping[int, Extent]:
        """The extents with bytes among these events, on the lineage of an epoch. Damaged when they can't be read."""
        with self._lock:
            if self._session is None:
                self._session = Session(self._journal, threads=1, memory=MEMORY)
            session = self._session
            return session.reading(lambda: _find(session, stream, epoch, lsns))

    def close(self) -> None:
        with self._lock:
            if self._session is not None:
                self._session.close()
                self._session = None


def _segments_of(
    session: Session, stream: str, line: Lineage, lsns: Collection[int]
) -> tuple[dict[int, int], set[str]]:
    """(epoch by LSN, for those that are listed; the segments that hold these)."""
    ranges = sorted(session.held.ranges.get(stream, ()), key=lambda one: one.lsn_first)
    by_epoch = {span.epoch: [one for one in ranges if one.epoch == span.epoch] for span in line}
    starts = {epoch: [one.lsn_first for one in listed] for epoch, listed in by_epoch.items()}
    epochs: dict[int, int] = {}
    keys: set[str] = set()
    for lsn in lsns:
        epoch = next((span.epoch for span in line if span.holds(Position(span.epoch, lsn))), 0)
        at = bisect_right(starts.get(epoch, ()), lsn) - 1
        if at >= 0 and lsn <= by_epoch[epoch][at].lsn_last:
            epochs[lsn] = epoch
            keys.add(by_epoch[epoch][at].key)
    return epochs, keys


def _find(session: Session, stream: str, epoch: int, lsns: Collection[int]) -> Mapping[int, Extent]:
    line = _line(session, stream, epoch)
    epochs, keys = _segments_of(session, stream, line, lsns)
    if len(epochs) < len(lsns):
        session.refresh()
        line = _line(session, stream, epoch)
        epochs, keys = _segments_of(session, stream, line, lsns)
    if not keys:
        return {}
    paths = [session.journal.files.path(key) for key in sorted(keys)]
    query = sql.fill("committed", events=sql.parquet(paths), lsns=", ".join(map(str, sorted(epochs))))
    return {
        lsn: Extent(lsn, at, file_id, offset, length, DataRef(pack, frame, frame_bytes, skip), digest)
        for lsn, number, at, file_id, offset, length, pack, frame, frame_bytes, skip, digest in session.rows(
            query, {"stream": stream}
        )
        if epochs[lsn] == number
    }


def _line(session: Session, stream: str, epoch: int) -> Lineage:
    known = session.epochs(stream)
    return lineage(known, epoch) if epoch in known else ()
