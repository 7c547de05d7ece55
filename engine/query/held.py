"""Which segments hold which events of which stream: read from the footers, once per object.

A segment that can't be read is remembered with its error. It holds nobody knows what, so it
stops no read by itself; a read that then misses events names it (`engine.query.asof`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.format.footer import Footer, runs_of
from engine.journal import segments
from engine.journal.open import Journal
from engine.journal.segments import Segment
from engine.model.errors import Damaged


@dataclass(frozen=True, slots=True)
class Range:
    """Events lsn_first..lsn_last that segment `key` holds of one stream and epoch."""

    key: str
    epoch: int
    lsn_first: int
    lsn_last: int


@dataclass(slots=True)
class Held:
    """What the visible segments hold, by stream. `damaged` are the unreadable objects; `holes` what
    the listing lacks, in words."""

    ranges: dict[str, list[Range]] = field(default_factory=dict)
    footers: dict[str, Footer] = field(default_factory=dict)
    damaged: dict[str, Damaged] = field(default_factory=dict)
    holes: tuple[str, ...] = ()
    keys: frozenset[str] = frozenset()


def survey(journal: Journal, known: Held) -> Held:
    """List the segments and read the footers that `known` does not have yet. Raises Missing when one goes meanwhile."""
    found = segments.visible(journal.store)
    held = Held(
        holes=tuple(
            f"commits {hole.seq_first} to {hole.seq_last} of {hole.node}.{hole.boot:08x}" for hole in found.holes
        )
    )
    tiles = found.segments
    while not _read_footers(journal, tiles, known, held):
        # What a damaged merged segment held may still be there in the commits that it was merged from.
        whole = [each for each in segments.listed(journal.store) if each.key not in held.damaged]
        tiles = segments.choose(whole).segments
    held.keys = frozenset(tile.key for tile in tiles)
    for key in held.keys:
        for stream, run in runs_of(held.footers[key]):
            held.ranges.setdefault(stream, []).append(Range(key, run.epoch, run.lsn_first, run.lsn_last))
    return held


def _read_footers(journal: Journal, tiles: tuple[Segment, ...], known: Held, held: Held) -> bool:
    """Whether all could be read; those that could not are in `held.damaged` afterwards."""
    good = True
    for tile in tiles:
        try:
            held.footers[tile.key] = known.footers.get(tile.key) or segments.footer(journal, tile.key)
        except Damaged as error:
            held.damaged[tile.key] = error
            good = False
    return good
