"""The map anew from the file system, after a power cut or a time without guard.

What the skeleton allocated is unwritten until a fill's or a writer's bytes are on disk, and then written, in one step
with them. So of a cold file an unwritten range is cold, a written one is warm, and where the skeleton had data and now
there is a hole somebody cut or punched: warm. A map that is believed (no reboot since) keeps what it says of the rest.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from engine.env import durable
from engine.fill.base import BLOCK_BYTES, ColdFile
from engine.fill.kept.map import Map
from engine.fill.kept.sizes import Sizes
from engine.tree.extents import UNWRITTEN, Extent, extents

Span = tuple[int, int]
Mixed = dict[tuple[int, int], list[Span]]
"""By (number, block): the spans, in bytes of the file, that are there and stay while the rest is filled."""


def rebuild(
    files: Sequence[ColdFile], map: Map, sizes: Sizes, opened: Callable[[ColdFile], int], believed: bool
) -> Mixed:
    """Set the map right. `opened` gives a descriptor of a file, OSError when it is gone. With `believed` the map's
    warm entries stay; without, they are made anew. Answers the blocks of which only a part is there."""
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
        finally:
            os.close(fd)
        _set(map, file, unwritten, limit, believed)
        for block, spans in partly(unwritten, limit):
            if not believed or map.first_cold(first + block, first + block + 1) >= 0:
                mixed[file.number, block] = spans
    return mixed


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


def write_mixed(path: Path, mixed: Mapping[tuple[int, int], Sequence[Span]]) -> None:
    """Durably; what is there already and not yet filled is still told by the file system."""
    durable.replace(
        path, json.dumps([[number, block, list(spans)] for (number, block), spans in mixed.items()]).encode()
    )


def read_mixed(path: Path) -> Mixed:
    if not path.exists():
        return {}
    return {(number, block): [(a, b) for a, b in spans] for number, block, spans in json.loads(path.read_bytes())}


def _set(map: Map, file: ColdFile, unwritten: Sequence[Span], limit: int, believed: bool) -> None:
    """Blocks that hold something unwritten are cold, unless a believed map knows better; all others are warm."""
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
        if not believed:
            map.set_cold(base + first, base + end)
        at = end
