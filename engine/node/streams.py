"""What the node knows of each stream beyond its head: newest point, gaps, delays. In memory.

It is read from the journal once at start, then kept up by every batch that is acknowledged.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from engine.format.sealing import FRAME_OVERHEAD_BYTES
from engine.model.events import BASELINE, GAP, PASS
from engine.model.ids import Position
from engine.model.points import FUZZY
from engine.node.monitoring.status import Stored
from engine.wire.batch import Batch

CHANGES = ("dentry", "inode", "extent", "copy")
DELAYS_KEPT = 2_000
DELAYS_WINDOW = 5 * 60 * 1_000_000


@dataclass(slots=True)
class Known:
    """Running facts of the current history of one stream, which ends in `epoch`.

    `gap_last`: (from, to, reason) of the newest gap that came while this node runs; `gaps_beside`: those of branches.
    `bytes_stored` since this node started; `told` what the agent last counted, `traffic` the same carried on when the
    agent begins to count anew.
    """

    point: Position | None = None
    point_at: int | None = None
    through_at: int | None = None
    last_change_at: int | None = None
    gaps: int = 0
    gaps_beside: int = 0
    epoch: int = 0
    gap_last: tuple[int, int, str] | None = None
    started: bool = False
    bytes_stored: int = 0
    told: dict[str, int] = field(default_factory=dict)
    traffic: dict[str, int] = field(default_factory=dict)
    delays: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=DELAYS_KEPT))


class StreamFacts:
    """Facts by stream id; safe to call from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, Known] = {}

    def begin(self, stream: str, known: Known) -> None:
        """Set what the journal says at start."""
        with self._lock:
            self._known[stream] = known

    def is_cut(self, stream: str, epoch: int, lsn: int) -> bool:
        """Whether an epoch that goes on from this LSN leaves something behind of what is known."""
        with self._lock:
            known = self._known.get(stream)
            return known is not None and known.point is not None and known.epoch < epoch and lsn < known.point.lsn

    def forked(self, stream: str, now: Known) -> None:
        """History goes on from an earlier point: what the journal says of that in its newest epoch, and what was
        counted, which goes on. Nothing when a batch of that epoch has come meanwhile."""
        with self._lock:
            known = self._known.setdefault(stream, Known())
            if known.epoch < now.epoch:
                known.epoch, known.started = now.epoch, now.started
                known.point, known.point_at = now.point, now.point_at
                known.gaps, known.gaps_beside = now.gaps, now.gaps_beside
                known.last_change_at = now.last_change_at

    def acknowledged(self, batch: Batch, committed_at: int) -> None:
        """Take in a batch that has just become durable. One of an older epoch belongs to a branch."""
        with self._lock:
            known = self._known.setdefault(batch.stream, Known())
            known.bytes_stored += sum(len(frame.data) + FRAME_OVERHEAD_BYTES for frame in batch.frames)
            if batch.epoch < known.epoch:
                return
            known.epoch = batch.epoch
            live = known.point is not None  # the baseline's own changes were there long before
            self._take_marks(known, batch)
            changes = [columns for name, columns in batch.tables.items() if name in CHANGES and len(columns["at"])]
            if changes:
                _, known.last_change_at = max((columns["lsn"][-1], columns["at"][-1]) for columns in changes)
                if live:
                    first_at = min(min(columns["at"]) for columns in changes)
                    known.delays.append((committed_at, (committed_at - first_at) / 1000))

    def _take_marks(self, known: Known, batch: Batch) -> None:
        marks = batch.tables.get("mark")
        if not marks:
            return
        columns = (marks[name] for name in ("lsn", "at", "kind", "label", "point_class", "gap_from"))
        for lsn, at, kind, label, point_class, gap_from in zip(*columns, strict=True):
            name = kind.decode("utf-8", "replace")
            if name == BASELINE:
                known.started = True
            if name == GAP:
                known.gaps += 1
                known.gap_last = (gap_from, at, label.decode("utf-8", "replace"))
            if name in (PASS, BASELINE) and known.started:
                known.point, known.point_at = Position(batch.epoch, lsn), at
                if point_class.decode("utf-8", "replace") != FUZZY:
                    known.through_at = max(at, known.through_at or 0)

    def through(self, stream: str, at: int) -> None:
        """Complete up to `at`, says the stream's agent."""
        with self._lock:
            known = self._known.setdefault(stream, Known())
            known.through_at = max(at, known.through_at or 0)

    def counted(self, stream: str, told: Mapping[str, int]) -> None:
        """What an agent has counted since it started. Counters here only grow, however often it starts."""
        with self._lock:
            known = self._known.setdefault(stream, Known())
            for name, count in told.items():
                before = known.told.get(name, 0)
                known.traffic[name] = known.traffic.get(name, 0) + count - (before if count >= before else 0)
                known.told[name] = count

    def stored(self, stream: str, now: int, *, delays: bool = True) -> Stored:
        """The facts as `engine.node.monitoring.status` judges them; without `delays` at less cost."""
        with self._lock:
            known = self._known.get(stream, Known())
            recent = [delay for at, delay in known.delays if now - at <= DELAYS_WINDOW] if delays else []
            return Stored(
                str(known.point) if known.point else None,
                known.point_at,
                known.through_at,
                known.last_change_at,
                known.gaps,
                recent,
                max((at for at in (known.through_at, known.point_at) if at and at <= now), default=None),
                {**known.traffic, "bytes_stored": known.bytes_stored},
                known.gaps_beside,
            )

    def gap_last(self, stream: str) -> tuple[int, int, str] | None:
        """(from, to, reason) of the newest gap that came while this node runs; None if none has."""
        with self._lock:
            return self._known[stream].gap_last if stream in self._known else None

    def has(self, stream: str) -> bool:
        """Whether anything is known of it."""
        with self._lock:
            return stream in self._known

    def streams(self) -> Iterable[str]:
        with self._lock:
            return list(self._known)
