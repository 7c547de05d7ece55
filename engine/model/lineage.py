"""Epochs and lineages: which events of a stream count for one of its epochs.

An epoch is one writer's run. It continues another one from a parent position, so the epochs
of a stream form a tree and the way from one of them back to the root is its lineage.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

from engine.model.errors import NothingThere
from engine.model.events import Event
from engine.model.ids import Position


@dataclass(frozen=True, slots=True)
class Epoch:
    """One writer's run. `parent` is the last position of the history that it continues, None
    for a stream's first; `cause` says why it was opened, `opened_at` when, by the node's time."""

    number: int
    parent: Position | None
    cause: str
    writer: str
    opened_at: int


@dataclass(frozen=True, slots=True)
class Span:
    """The events of one epoch with lsn_first <= lsn <= lsn_last; `lsn_last` None is no end."""

    epoch: int
    lsn_first: int
    lsn_last: int | None

    def holds(self, position: Position) -> bool:
        inside = self.lsn_first <= position.lsn and (self.lsn_last is None or position.lsn <= self.lsn_last)
        return position.epoch == self.epoch and inside


Lineage = tuple[Span, ...]
"""Spans from the root to the youngest epoch. Their LSN ranges follow one another."""


def lineage(epochs: Mapping[int, Epoch], number: int) -> Lineage:
    """The lineage of epoch `number`, oldest span first. NothingThere for an unknown epoch."""
    spans: list[Span] = []
    last: int | None = None
    at: int | None = number
    while at is not None:
        epoch = epochs.get(at)
        if epoch is None:
            raise NothingThere(f"epoch {at} is not known in this stream", hint="`bcsctl points` lists what there is")
        first = epoch.parent.lsn + 1 if epoch.parent else 1
        if last is None or first <= last:
            spans.append(Span(at, first, last))
            last = first - 1
        at = epoch.parent.epoch if epoch.parent else None
    return tuple(reversed(spans))


def until(line: Lineage, position: Position) -> Lineage:
    """The same lineage cut at a position: nothing after it counts."""
    cut: list[Span] = []
    for span in line:
        if span.lsn_first > position.lsn:
            break
        last = position.lsn if span.lsn_last is None else min(span.lsn_last, position.lsn)
        cut.append(Span(span.epoch, span.lsn_first, last))
    return tuple(cut)


@dataclass(frozen=True, slots=True)
class Beside:
    """What of a stream is in no present history: the epoch that was opened with this `cause` left it at `left`, the
    last position that both have. Its LSN is 0 where they have none."""

    left: Position
    cause: str


def beside(epochs: Mapping[int, Epoch], position: Position) -> Beside | None:
    """How a position came to lie beside the youngest epoch's lineage; None where it is in it, or is in none."""
    if position.epoch not in epochs:
        return None
    line, own = (until(lineage(epochs, number), position) for number in (max(epochs), position.epoch))
    if _holds(line, position) or not _holds(own, position):
        return None
    common = common_lsn(line, own)
    epoch = next((span.epoch for span in own if span.lsn_first <= common <= (span.lsn_last or common)), own[0].epoch)
    later = (epochs[number] for number in sorted(epochs) if number > position.epoch)
    return Beside(
        Position(epoch, common),
        next(each.cause for each in later if not _holds(lineage(epochs, each.number), position)),
    )


def common_lsn(one: Lineage, other: Lineage) -> int:
    """The last LSN that two lineages, each cut at a position, have in common; 0 for none."""
    last = 0
    for mine, yours in zip(one, other, strict=False):
        if (mine.epoch, mine.lsn_first) != (yours.epoch, yours.lsn_first):
            break
        assert mine.lsn_last is not None and yours.lsn_last is not None
        last = min(mine.lsn_last, yours.lsn_last)
        if mine.lsn_last != yours.lsn_last:
            break
    return last


def leaves_behind(epochs: Mapping[int, Epoch], number: int, written: Mapping[int, int]) -> bool:
    """Whether epoch `number` left something of the lineage before it aside, as a recovery to an earlier moment does.
    `written` is the last LSN of what there is of each epoch."""
    before = max((each for each in epochs if each < number), default=None)
    if before is None:
        return False
    kept = {span.epoch: span.lsn_last or 0 for span in lineage(epochs, number)}
    return any(
        min(written.get(span.epoch, 0), span.lsn_last or written.get(span.epoch, 0)) > max(kept.get(span.epoch, 0), 0)
        for span in lineage(epochs, before)
    )


def current_at(epochs: Mapping[int, Epoch], at: int, written: Mapping[int, int]) -> int:
    """The epoch whose lineage was the stream's history at a time, microseconds of the site: the youngest one, unless
    what it, or one before it, left behind was the history then. ValueError without epochs."""
    numbers = sorted(epochs)
    for before, number in itertools.pairwise(numbers):
        if epochs[number].opened_at > at and leaves_behind(epochs, number, written):
            return before
    return max(numbers)


def counts(line: Lineage, epoch: int, event: Event) -> bool:
    """Whether an event written in `epoch` belongs to the lineage."""
    return _holds(line, Position(epoch, event.lsn))


def _holds(line: Lineage, position: Position) -> bool:
    return any(span.holds(position) for span in line)
