"""Which segments hold which events of which stream: read from the footers, once per object.

A segment that can't be read, or that must be there and is not, is remembered as lost. It stops
no read by itself: a read that misses events names it (`engine.query.asof`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pyarrow as pa

from engine.format.footer import Footer, runs_of
from engine.format.parquet import read_footer
from engine.journal import segments
from engine.journal.open import Journal
from engine.journal.segments import Segment
from engine.model.errors import Damaged

THREADS = 4
TOGETHER_FROM = 8
"""So many segments that were not read before are read on several threads."""


@dataclass(frozen=True, slots=True)
class Range:
    """Events lsn_first..lsn_last that segment `key` holds of one stream and epoch; `commit` is (boot, sequence)
    of the segment's last commit."""

    key: str
    epoch: int
    lsn_first: int
    lsn_last: int
    commit: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Lost:
    """Commits that no readable segment holds. `name` is the damaged object, or says which are missing; `commit`
    the (boot, sequence) of the first. `claim` is what a damaged object says it holds, not to be trusted; None: no word.
    """

    name: str
    commit: tuple[int, int]
    claim: Footer | None

    def may_end(self, stream: str, ranges: Iterable[Range]) -> bool:
        """Whether the stream's last events, after those in `ranges`, may be among the lost ones."""
        known = list(ranges)
        if self.claim is None:
            return all(one.commit < self.commit for one in known)
        heads: dict[int, int] = {}
        for one in known:
            heads[one.epoch] = max(one.lsn_last, heads.get(one.epoch, 0))
        return any(name == stream and run.lsn_last > heads.get(run.epoch, 0) for name, run in runs_of(self.claim))

    def may_hold(self, stream: str) -> bool:
        return self.claim is None or stream in self.claim.streams


@dataclass(slots=True)
class Held:
    """What the visible segments hold, by stream. `damaged` are all unreadable segments by key, also those whose
    events are still there in others; `holes` says which commits the listing lacks; `lost` is what remains of both."""

    ranges: dict[str, list[Range]] = field(default_factory=dict)
    footers: dict[str, Footer] = field(default_factory=dict)
    damaged: dict[str, Damaged] = field(default_factory=dict)
    holes: tuple[str, ...] = ()
    lost: tuple[Lost, ...] = ()
    keys: frozenset[str] = frozenset()


def survey(journal: Journal, known: Held) -> Held:
    """List the segments and read the footers that `known` does not have yet. Raises Missing when one goes meanwhile."""
    found = segments.visible(journal.store)
    held = Held()
    bad: list[Segment] = []
    tiles = found.segments
    while unread := _read_footers(journal, tiles, known, held):
        # What a damaged merged segment held may still be there in the commits that it was merged from.
        bad += unread
        whole = [each for each in segments.listed(journal.store) if each.key not in held.damaged]
        tiles = segments.choose(whole).segments
    missing = [Lost(_words(hole), (hole.boot, hole.seq_first), None) for hole in found.holes]
    unreadable = [_claimed(journal, each) for each in bad if not _covered(each, tiles)]
    held.holes = tuple(each.name for each in missing)
    held.lost = (*unreadable, *missing)
    held.keys = frozenset(tile.key for tile in tiles)
    held.footers = {key: held.footers[key] for key in held.keys}
    for tile in tiles:
        commit = (tile.boot, tile.seq_last)
        for stream, run in runs_of(held.footers[tile.key]):
            one = Range(tile.key, run.epoch, run.lsn_first, run.lsn_last, commit)
            held.ranges.setdefault(stream, []).append(one)
    return held


def _read_footers(journal: Journal, tiles: Sequence[Segment], known: Held, held: Held) -> list[Segment]:
    """Read what is new into `held`; the segments that could not be read."""

    def read(tile: Segment) -> Footer | Damaged:
        try:
            return known.footers.get(tile.key) or segments.footer(journal, tile.key)
        except Damaged as error:
            return error

    # Each new file is hashed whole, which leaves the interpreter free: who asks once for one file waits for this most.
    if sum(tile.key not in known.footers for tile in tiles) < TOGETHER_FROM:
        found = list(map(read, tiles))
    else:
        with ThreadPoolExecutor(THREADS) as pool:
            found = list(pool.map(read, tiles))
    unread: list[Segment] = []
    for tile, one in zip(tiles, found, strict=True):
        if isinstance(one, Damaged):
            held.damaged[tile.key] = one
            unread.append(tile)
        else:
            held.footers[tile.key] = one
    return unread


def _covered(segment: Segment, tiles: Iterable[Segment]) -> bool:
    """Whether readable segments hold every commit of a damaged one."""
    count = 0
    for tile in tiles:
        if tile.run == segment.run:
            count += max(0, min(tile.seq_last, segment.seq_last) - max(tile.seq_first, segment.seq_first) + 1)
    return count == segment.seq_last - segment.seq_first + 1


def _claimed(journal: Journal, segment: Segment) -> Lost:
    """A damaged object with what its footer says, if that can be read. A claim only narrows the suspicion."""
    try:
        claim = read_footer(pa.py_buffer(journal.store.get(segment.key)), segment.key)
    except Damaged:
        claim = None
    return Lost(segment.key, (segment.boot, segment.seq_first), claim)


def _words(hole: segments.Hole) -> str:
    return f"commits {hole.seq_first} to {hole.seq_last} of {hole.node}.{hole.boot:08x}"
