"""Which segments hold which events of which stream: read from the footers, once per object.

A segment that can't be read is remembered with its error. It holds nobody knows what, so it
stops no read by itself; a read that then misses events names it (`engine.query.asof`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from engine.format.footer import Footer, runs_of
from engine.format.names import L0, L1, parse_segment
from engine.format.parquet import read_footer
from engine.model.errors import Damaged
from engine.store.base import Missing


@dataclass(frozen=True, slots=True)
class Range:
    """Events lsn_first..lsn_last that segment `key` holds of one stream and epoch."""

    key: str
    epoch: int
    lsn_first: int
    lsn_last: int


@dataclass(slots=True)
class Held:
    """What the visible segments hold, by stream. `damaged` are the unreadable objects, `holes` what
    the listing lacks, in words."""

    ranges: dict[str, list[Range]] = field(default_factory=dict)
    footers: dict[str, Footer] = field(default_factory=dict)
    damaged: dict[str, Damaged] = field(default_factory=dict)
    holes: tuple[str, ...] = ()
    keys: frozenset[str] = frozenset()


def survey(journal: Any, known: Held) -> Held:
    """List the segments and read the footers that `known` does not have yet."""
    listed = [item.key for level in (L0, L1) for item in journal.store.list(level)]
    keys = [key for key in listed if parse_segment(key)]
    held = Held(keys=frozenset(keys))
    for key in keys:
        try:
            footer = known.footers.get(key) or read_footer(journal.files.path(key), key)
        except Missing:
            continue  # merged into another one since the listing
        except Damaged as error:
            held.damaged[key] = error
            continue
        held.footers[key] = footer
        for stream, run in runs_of(footer):
            held.ranges.setdefault(stream, []).append(Range(key, run.epoch, run.lsn_first, run.lsn_last))
    return held
