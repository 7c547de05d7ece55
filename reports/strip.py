"""A source's period as a strip: bands and a time axis in the units of an SVG. Pure; the template draws it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.model.times import DAY, HOUR, MINUTE, SECOND, format_time, parse_time
from reports.words import STATES, moment, span

WIDTH = 960
"""Units from the period's begin to its end."""

TICKS_MAX = 8
_STEPS = [SECOND * n for n in (1, 2, 5, 10, 15, 30)]
_STEPS += [MINUTE * n for n in (1, 2, 5, 10, 15, 30)] + [HOUR * n for n in (1, 2, 3, 6, 12)]
_STEPS += [DAY * n for n in (1, 2, 7, 14, 30, 90, 180, 365, 730, 1825, 3650)]
_GRAVITY = ("late", "gap", "unprotected", "unproved", "open", "none", "protected")
"""Gravest first."""

Span = tuple[int, int, str]
"""(from, to, state), within the period, microseconds."""


@dataclass(frozen=True, slots=True)
class Band:
    """One state from x for `width` units; `title` says it in words."""

    x: float
    width: float
    state: str
    title: str


@dataclass(frozen=True, slots=True)
class Tick:
    x: float
    label: str
    anchor: str


def bands(timeline: Sequence[Mapping[str, Any]], period: Mapping[str, Any]) -> list[Band]:
    """A report's timeline as bands: what is shorter than a unit is widened to one."""
    begin, end = _at(period["from"]), _at(period["to"])
    spans = [(_at(one["from"]), _at(one["to"]), one["state"]) for one in timeline]
    found = []
    for first, last, state in _runs(_columns(spans, begin, end)):
        since = format_time(begin + (end - begin) * first // WIDTH)
        lasts = span((end - begin) * (last - first) / WIDTH / SECOND)
        found.append(Band(first, last - first, state, f"{STATES[state]}, about {lasts} from {moment(since)}"))
    return found


def coarse(spans: Sequence[Span], begin: int, end: int) -> list[Span]:
    """At most WIDTH spans for however many; of several states in one unit the gravest is left. Microseconds."""
    return [
        (begin + (end - begin) * first // WIDTH, begin + (end - begin) * last // WIDTH, state)
        for first, last, state in _runs(_columns(spans, begin, end))
    ]


def _columns(spans: Sequence[Span], begin: int, end: int) -> list[str | None]:
    """The gravest state that each unit touches, None for none."""
    columns: list[str | None] = [None] * WIDTH
    for from_at, to_at, state in sorted(spans, key=lambda one: -_GRAVITY.index(one[2])):
        first = (from_at - begin) * WIDTH // (end - begin)
        last = -(-(to_at - begin) * WIDTH // (end - begin))
        columns[first:last] = [state] * (min(last, WIDTH) - first)
    return columns


def _runs(columns: Sequence[str | None]) -> Iterator[tuple[int, int, str]]:
    """Units next to each other that hold the same state: first, behind the last, state."""
    first = 0
    for state, run in itertools.groupby(columns):
        last = first + len(list(run))
        if state is not None:
            yield first, last, state
        first = last


def ticks(period: Mapping[str, Any]) -> list[Tick]:
    """Round moments of the period, TICKS_MAX or fewer, labelled as finely as they need."""
    begin, end = _at(period["from"]), _at(period["to"])
    step = next((step for step in _STEPS if (end - begin) // step < TICKS_MAX), _STEPS[-1])
    first = -(-begin // step) * step
    found = []
    for at in range(first, end + 1, step):
        x = (at - begin) * WIDTH / (end - begin)
        anchor = "start" if x < 40 else "end" if x > WIDTH - 40 else "middle"
        found.append(Tick(round(x, 1), _label(at, step), anchor))
    return found


def _label(at: int, step: int) -> str:
    text = format_time(at)
    if step >= DAY:
        return text[:10]
    if at % DAY == 0:
        return text[5:10]
    return text[11:16] if step >= MINUTE else text[11:19]


def _at(text: str) -> int:
    return parse_time(text, 0)
