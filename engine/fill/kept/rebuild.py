"""The map anew from the file system, after a power cut or a time without guard.

What the skeleton allocated is unwritten until a fill's or a writer's bytes are on disk, and then written, in one step
with them. So of a cold file an unwritten range is cold, a written one is warm, and where the skeleton had data and now
there is a hole somebody cut or punched: warm. A map that is believed (no reboot since) keeps what it says of the rest;
what it calls cold and the file system does not was written while nobody guarded it, or is the rest of a fill that was
under way: a suspect, which stays as it is and is compared once what belongs there is fetched.
"""

from __future__ import annotations

import json
import os
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.env import durable
from engine.fill.base import BLOCK_BYTES, ColdFile
from engine.fill.kept.map import Map
from engine.fill.kept.sizes import Sizes
from engine.tree.extents import UNWRITTEN, Extent, extents

Span = tuple[int, int]
Mixed = dict[tuple[int, int], list[Span]]
"""By (number, block): the spans, in bytes of the file, that are there and stay while the rest is filled."""
Suspects = set[tuple[int, int]]
"""(number, block) of what is compared when it is filled: engine.fill.flow.suspects."""


def rebuild(
    files: Sequence[ColdFile], map: Map, sizes: Sizes, opened: Callable[[ColdFile], int], believed: bool
) -> Mixed:
    """Set the map right. `opened` gives a descriptor of a file, OSError when it is gone. With `believed` the map's
    warm entries stay, and cold blocks that the file system has something of, or nothing, stay cold with that in them;
    without, all is made anew. Answers the blocks of which a part is there, or with `believed` maybe all of it."""
    mixed: Mixed = {}
    for file in files:
        first, end = file.first_block, file.first_block + file.blocks
        try:
            fd = opened(file)
        except OSError:
            map.set_warm(first, end)  # deleted: nobody will ask
            continue
        try:
            size = os.fstat(fd).st_size
            if size < file.size:
                sizes.note(file.number, size)
            limit = min(file.size, sizes.smallest.get(file.number, file.size))
            unwritten = unwritten_of(extents(fd) or [], limit)
        except OSError:
            if not believed:
                raise
            continue  # it can't tell: what is behind a mount that is gone was reached by nobody
        finally:
            os.close(fd)
        if believed:
            _believe(map, file, unwritten, limit, mixed)
            continue
        _set(map, file, unwritten, limit)
        for block, spans in partly(unwritten, limit):
            mixed[file.number, block] = spans
    return mixed


def suspects_of(found: Mapping[tuple[int, int], Sequence[Span]], known: Mapping[tuple[int, int], object]) -> Suspects:
    """Of what a believed map's rebuilding found: what is not known from a power cut before."""
    return {key for key, spans in found.items() if known.get(key) != spans}


def _believe(map: Map, file: ColdFile, unwritten: Sequence[Span], limit: int, mixed: Mixed) -> None:
    """Past `limit` all is warm; below it what is cold stays so, with the spans that are not unwritten any more."""
    first, blocks = file.first_block, -(-limit // BLOCK_BYTES)
    for begins, ends in list(map.cold_runs(first + blocks, first + file.blocks)):
        map.set_warm(begins, ends)
    for begins, ends in list(map.cold_runs(first, first + blocks)):
        for block, spans in _written(begins - first, ends - first, unwritten, limit):
            mixed[file.number, block] = spans


def _written(first: int, end: int, unwritten: Sequence[Span], limit: int) -> Iterator[tuple[int, list[Span]]]:
    """The blocks of [first, end) with their spans that are not unwritten; `unwritten` ascends."""
    at = bisect_right(unwritten, first * BLOCK_BYTES, key=lambda span: span[1])
    for block in range(first, end):
        begins, ends = block * BLOCK_BYTES, min((block + 1) * BLOCK_BYTES, limit)
        there, reached = [], begins
        while reached < ends:
            while at < len(unwritten) and unwritten[at][1] <= reached:
                at += 1
            stop, after = unwritten[at] if at < len(unwritten) else (ends, ends)
            if stop > reached:
                there.append((reached, min(stop, ends)))
            reached = max(reached, min(after, ends))
            if stop >= ends:
                break
        if there:
            yield block, there


def unwritten_of(found: Sequence[Extent], limit: int) -> list[Span]:
    """The unwritten spans below `limit`, ascending, neighbours joined."""
    spans: list[Span] = []
    for logical, _, length, flags in found:
        begins, ends = logical, min(logical + length, limit)
        if not flags & UNWRITTEN or begins >= ends:
            continue
        if spans and spans[-1][1] >= begins:
            spans[-1] = (spans[-1][0], max(ends, spans[-1][1]))
        else:
            spans.append((begins, ends))
    return spans


def partly(unwritten: Sequence[Span], limit: int) -> Iterator[tuple[int, list[Span]]]:
    """(block, spans that are there) for each block that is neither all unwritten nor all there."""
    edges = sorted({at // BLOCK_BYTES for span in unwritten for at in span})
    for block in edges:
        begins, ends = block * BLOCK_BYTES, min((block + 1) * BLOCK_BYTES, limit)
        at, there = begins, []
        cold = False
        for first, last in unwritten:
            if first >= ends or last <= begins:
                continue
            cold = True
            if first > at:
                there.append((at, first))
            at = last
        if cold and at < ends:
            there.append((at, ends))
        if there and cold:
            yield block, there


def write_mixed(path: Path, mixed: Mapping[tuple[int, int], Sequence[Span]], suspects: Suspects | None = None) -> None:
    """Durably; what is there already and not yet filled is still told by the file system."""
    rows = [[*key, list(spans), key in (suspects or ())] for key, spans in mixed.items()]
    durable.replace(path, json.dumps(rows).encode())


def read_mixed(path: Path) -> Mixed:
    return {(number, block): [(a, b) for a, b in spans] for number, block, spans, *_ in _rows(path)}


def read_suspects(path: Path) -> Suspects:
    return {(number, block) for number, block, _, *suspect in _rows(path) if any(suspect)}


def _rows(path: Path) -> list[list[Any]]:
    rows: list[list[Any]] = json.loads(path.read_bytes()) if path.exists() else []
    return rows


def _set(map: Map, file: ColdFile, unwritten: Sequence[Span], limit: int) -> None:
    """Blocks that hold something unwritten are cold; all others are warm."""
    at = 0
    cold = []
    for begins, ends in unwritten:
        first, end = max(at, begins // BLOCK_BYTES), -(-ends // BLOCK_BYTES)
        if first < end:
            cold.append((first, end))
            at = end
    base, at = file.first_block, 0
    for first, end in [*cold, (file.blocks, file.blocks)]:
        for begins, ends in list(map.cold_runs(base + at, base + first)):
            map.set_warm(begins, ends)
        map.set_cold(base + first, base + end)
        at = end
