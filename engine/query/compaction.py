"""Compaction by hand: merge what can be merged and make checkpoints now, whether it is due or not."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.env.clock import Clock
from engine.journal import checkpoints
from engine.journal.merge import Rules, merge_due
from engine.journal.open import Journal
from engine.model.errors import Damaged
from engine.model.lineage import lineage
from engine.query.checkpoint import build_checkpoint
from engine.query.points import points
from engine.query.session import Session

NOW = Rules(commits_min=2, age_seconds=0.0, segments_min=2)
_ROUNDS_MAX = 16


@dataclass(slots=True)
class Compacted:
    """Keys that were written and deleted, bytes written, and the damage that was met; it is left as it is."""

    merged: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    checkpoints: list[str] = field(default_factory=list)
    damaged: list[Damaged] = field(default_factory=list)
    bytes_written: int = 0


def compact(journal: Journal, clock: Clock) -> Compacted:
    """Merge until nothing is left to merge, then make a checkpoint at the newest point of each stream.

    May run beside a node and beside itself; killed anywhere, it leaves a sound journal.
    """
    done = Compacted()
    for _ in range(_ROUNDS_MAX):
        merged = merge_due(journal, clock, NOW)
        done.merged += merged.written
        done.deleted += merged.deleted
        done.damaged = merged.damaged
        if not merged.written:
            break
    with Session(journal) as session:
        for stream in sorted(session.held.ranges):
            try:
                key = _checkpoint(session, stream)
            except Damaged as error:
                done.damaged.append(error)
                continue
            if key:
                done.checkpoints.append(key)
    # A merged segment of an early round may have been merged again, and be gone.
    sizes = {item.key: item.size for level in ("L1/", "streams/") for item in journal.store.list(level)}
    done.bytes_written = sum(sizes.get(key, 0) for key in (*done.merged, *done.checkpoints))
    return done


def _checkpoint(session: Session, stream: str) -> str:
    """A checkpoint at the newest point of the current lineage, if it has none there yet."""
    newest = points(session, stream, limit=1)
    if not newest:
        return ""
    line = lineage(session.epochs(stream), newest[0].position.epoch)
    there = [
        name.position.lsn
        for name in checkpoints.checkpoints(session.journal, stream)
        if any(span.holds(name.position) for span in line)
    ]
    return "" if newest[0].position.lsn in there else build_checkpoint(session, stream, newest[0])
