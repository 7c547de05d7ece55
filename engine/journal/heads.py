"""Where each stream stands, recovered from what the store shows: a listing and footers, no other memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from engine.format.footer import Footer, Run
from engine.format.names import Segment
from engine.journal import epochs, segments
from engine.journal.epochs import Stream
from engine.journal.open import Journal
from engine.model.ids import Position
from engine.model.lineage import Epoch
from engine.wire.batch import NO_HASH


@dataclass(frozen=True, slots=True)
class Head:
    """The last committed event of one epoch of a stream.

    `hash` is that of the batch that ends there, NO_HASH before the epoch's first; `lsn_first` where that batch, or the
    run of batches it was merged with, began. `through_at` is the watermark in site time, `committed_at` the
    node's time; both microseconds, 0 for not known.
    """

    epoch: int
    lsn: int
    hash: bytes
    lsn_first: int = 0
    through_at: int = 0
    committed_at: int = 0

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.lsn)


@dataclass(frozen=True, slots=True)
class StreamHeads:
    """A stream with all its epochs and the head of each of them, by number. None of either: nobody has written yet."""

    stream: Stream
    epochs: Mapping[int, Epoch]
    heads: Mapping[int, Head]

    @property
    def current(self) -> Head | None:
        """The head of the newest epoch."""
        return self.heads[max(self.heads)] if self.heads else None


@dataclass(frozen=True, slots=True)
class Tail:
    """All streams by id, and the content hash of the last commit in the journal, "" for an empty one."""

    streams: Mapping[str, StreamHeads]
    last: str
    committed_at: int


def recover(journal: Journal) -> Tail:
    """Reads every visible segment's footer. Raises Damaged for one that can't be trusted."""
    found = segments.footers(journal)
    latest, watermarks = _latest(found)
    streams = {}
    for stream in epochs.streams(journal.store):
        granted = epochs.epochs(journal.store, stream.id)
        heads = {number: start_of(epoch) for number, epoch in granted.items()}
        for number in heads:
            heads[number] = latest.get((stream.id, number), heads[number])
        if heads and watermarks.get(stream.id):
            newest = max(heads)
            heads[newest] = replace(heads[newest], through_at=watermarks[stream.id])
        streams[stream.id] = StreamHeads(stream, granted, heads)
    if not found:
        return Tail(streams, "", 0)
    last_segment, last_footer = found[-1]
    committed_at = max(footer.committed_at_last for _, footer in found)
    return Tail(streams, last_of(last_segment, last_footer), committed_at)


def start_of(epoch: Epoch) -> Head:
    """The head of an epoch in which nothing has been committed yet."""
    return Head(epoch.number, epoch.parent.lsn if epoch.parent else 0, NO_HASH)


def last_of(segment: Segment, footer: Footer) -> str:
    """The content hash of the last commit in a segment, as the next commit names it."""
    return footer.last if segment.level else segment.hash


def head_of(run: Run, through_at: int, committed_at: int) -> Head:
    return Head(run.epoch, run.lsn_last, bytes.fromhex(run.hash), run.lsn_first, through_at, committed_at)


def _latest(
    found: Iterable[tuple[Segment, Footer]],
) -> tuple[dict[tuple[str, int], Head], dict[str, int]]:
    """The highest run of each (stream, epoch), and each stream's highest watermark."""
    latest: dict[tuple[str, int], Head] = {}
    watermarks: dict[str, int] = {}
    for _, footer in found:
        for name, stream in footer.streams.items():
            watermarks[name] = max(watermarks.get(name, 0), stream.through_at)
            for run in stream.runs:
                known = latest.get((name, run.epoch))
                if known is None or run.lsn_last > known.lsn:
                    latest[name, run.epoch] = head_of(run, 0, footer.committed_at_last)
    return latest, watermarks
