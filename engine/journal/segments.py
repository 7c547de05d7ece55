"""Which segments together hold every committed event exactly once: a listing is the truth.

Of all ways to tile a boot's commits with the segments that are listed, the one with the fewest segments is taken, so
a merged segment stands for the commits in it. What no segment covers below a boot's highest commit is a hole: since
commits appear strictly in sequence, it is damage and never 'not yet'.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from engine.format import names, parquet
from engine.format.footer import Footer
from engine.format.names import Segment
from engine.journal.open import Journal
from engine.model.errors import Damaged
from engine.store.base import Missing, Store

__all__ = ["Hole", "Segment", "Visible", "choose", "footer", "listed", "visible"]

_LOOKS = 3


@dataclass(frozen=True, slots=True, order=True)
class Hole:
    """Commits seq_first..seq_last of a boot, which must be there and are not."""

    boot: int
    node: str
    seq_first: int
    seq_last: int


@dataclass(frozen=True, slots=True)
class Visible:
    """`segments` by (boot, sequence); their union is every committed event once. `holes` likewise."""

    segments: tuple[Segment, ...]
    holes: tuple[Hole, ...]


def visible(store: Store) -> Visible:
    """What there is now. A hole is reported only if it is still there after looking again."""
    for _ in range(_LOOKS - 1):
        found = choose(listed(store))
        if not found.holes:
            return found
    return choose(listed(store))


def listed(store: Store) -> list[Segment]:
    """Every segment in the store, those that others cover among them.

    Commits before merged ones: a commit goes only when its merged segment is there, so it can't slip between.
    """
    items = itertools.chain(list(store.list(names.L0)), store.list(names.L1))
    found = (names.parse_segment(item.key, item.size) for item in items)
    return [segment for segment in found if segment is not None]


def choose(segments: Iterable[Segment]) -> Visible:
    """The tiling of each boot, and its holes. Pure."""
    chosen: list[Segment] = []
    holes: list[Hole] = []
    for (boot, node), group in itertools.groupby(sorted(segments), key=lambda each: (each.boot, each.node)):
        tiles = _tile(list(group))
        chosen.extend(tiles)
        next_seq = names.SEQ_FIRST
        for tile in tiles:
            if tile.seq_first > next_seq:
                holes.append(Hole(boot, node, next_seq, tile.seq_first - 1))
            next_seq = tile.seq_last + 1
    return Visible(tuple(chosen), tuple(holes))


def footer(journal: Journal, key: str) -> Footer:
    """A segment's footer, from a file whose content has been checked. Raises Damaged, Missing."""
    return _checked(key, parquet.read_footer(journal.files.path(key), key))


def read(journal: Journal, key: str) -> tuple[Footer, pa.Table]:
    """A segment's footer, and all of its rows with the types that Parquet has. Raises Damaged, Missing."""
    text, rows = parquet.read_whole(journal.files.path(key), key)
    return _checked(key, text), rows


def _checked(key: str, found: Footer) -> Footer:
    """The footer, if it is that of this segment."""
    segment = names.parse_segment(key)
    stated = (found.boot, found.node, found.seq_first, found.seq_last)
    if segment is None or stated != (segment.boot, segment.node, segment.seq_first, segment.seq_last):
        raise Damaged(f"segment {key} is not the one that its footer names", details={"object": key})
    return found


def footers(journal: Journal) -> list[tuple[Segment, Footer]]:
    """All visible segments with their footers, by (boot, sequence). Lists again when a segment was merged away."""
    for look in range(_LOOKS):
        try:
            return [(segment, footer(journal, segment.key)) for segment in visible(journal.store).segments]
        except Missing:
            if look == _LOOKS - 1:
                raise
    raise AssertionError("not reached")


def _tile(group: Sequence[Segment]) -> list[Segment]:
    """The cheapest chain of segments of one boot that do not overlap: least uncovered first, then fewest segments,
    then the higher generations. Dynamic programming from the last sequence number back."""
    by_first: dict[int, list[Segment]] = {}
    for segment in group:
        by_first.setdefault(segment.seq_first, []).append(segment)
    starts = sorted(by_first)
    end = max(segment.seq_last for segment in group) + 1
    # best[p]: (commits uncovered, segments, -generations) from p to the end, and the segment that begins there.
    best: dict[int, tuple[tuple[int, int, int], Segment | None]] = {end: ((0, 0, 0), None)}
    following = dict(zip(starts, [*starts[1:], end], strict=True))

    def cost_from(position: int) -> tuple[int, int, int]:
        """From a position that is no start: the commits up to the next start are uncovered."""
        if position in best:
            return best[position][0]
        start = _next_start(starts, position, end)
        uncovered, count, generations = best[start][0]
        return uncovered + start - position, count, generations

    for start in reversed(starts):
        uncovered, count, generations = best[following[start]][0]
        choice: tuple[tuple[int, int, int], Segment | None] = (
            (uncovered + following[start] - start, count, generations),
            None,
        )
        for segment in sorted(by_first[start], key=lambda each: each.key):
            uncovered, count, generations = cost_from(segment.seq_last + 1)
            cost = (uncovered, count + 1, generations - segment.generation)
            if cost < choice[0]:
                choice = (cost, segment)
        best[start] = choice
    return _walk(best, starts, end)


def _walk(
    best: dict[int, tuple[tuple[int, int, int], Segment | None]], starts: Sequence[int], end: int
) -> list[Segment]:
    tiles: list[Segment] = []
    position = starts[0]
    while position < end:
        segment = best[position][1] if position in best else None
        if segment is not None:
            tiles.append(segment)
            position = segment.seq_last + 1
        else:
            position = _next_start(starts, position + (position in best), end)
    return tiles


def _next_start(starts: Sequence[int], position: int, end: int) -> int:
    """The first start at or behind a position."""
    index = bisect_left(starts, position)
    return starts[index] if index < len(starts) else end
