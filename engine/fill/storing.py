"""Bring fetched bytes into a real file: data written, holes punched, times put back, nothing beyond its end."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from engine.fill.within import write_within
from engine.tree.apply import write_extent
from engine.tree.sparse import make_hole

PAGE_BYTES = 4096
"""A hole is punched where whole pages of it are; narrower ones are written as zeros."""

CAPABILITY = "security.capability"

Part = tuple[int, bytes | bytearray | memoryview]
Span = tuple[int, int]
"""(start, end) in bytes of the file."""


def assembled(parts: Sequence[Part], start: int, end: int) -> bytes | bytearray | memoryview:
    """The bytes of [start, end), holes as zeros; copied only where one part is not all of it."""
    if len(parts) == 1 and parts[0][0] <= start and parts[0][0] + len(parts[0][1]) >= end:
        offset, data = parts[0]
        return memoryview(data)[start - offset : end - offset]
    whole = bytearray(end - start)
    for offset, data in parts:
        first, last = max(start, offset), min(end, offset + len(data))
        if first < last:
            whole[first - start : last - start] = memoryview(data)[first - offset : last - offset]
    return whole


def holes_of(parts: Sequence[Part], start: int, end: int) -> list[Span]:
    """The spans of whole pages in [start, end) that no part has anything of; a hole at `end` goes up to there."""
    found = []
    at = start
    for first, last in [*((offset, offset + len(data)) for offset, data in parts), (end, end)]:
        begins = -(-at // PAGE_BYTES) * PAGE_BYTES
        ends = end if first >= end else first - first % PAGE_BYTES
        if ends > begins and begins < end:
            found.append((begins, ends))
        at = max(at, last)
    return found


def without(spans: Sequence[Span], taken: Sequence[Span]) -> list[Span]:
    """What is left of `spans` when `taken` is taken away; both ascending and disjoint."""
    left = list(spans)
    for begins, ends in taken:
        left = [part for span in left for part in _cut(span, begins, ends)]
    return left


def store(
    fd: int,
    start: int,
    data: bytes | bytearray | memoryview,
    spans: Sequence[Span],
    holes: Sequence[Span],
    may_be_cut: bool,
) -> int:
    """Write `spans` of the bytes `data`, which begin at `start`; punch `holes`, which are left out of the spans.

    With `may_be_cut` the file may be cut at any moment and is never made longer: the answer is the first byte that
    could not be stored since the file ends before it, else the end of `data`. Times and capabilities stay. OSError.
    """
    before = os.fstat(fd)
    capability = _capability(fd) if not may_be_cut else None
    view = memoryview(data)
    stopped = start + len(view)
    for begins, ends in holes:
        make_hole(fd, begins, ends - begins)
    for begins, ends in without(spans, holes):
        part = view[begins - start : ends - start]
        if not may_be_cut:
            write_extent(fd, begins, part)
        elif (count := write_within(fd, begins, part)) < len(part):
            stopped = begins + count
            break
    if capability is not None:
        os.setxattr(fd, CAPABILITY, capability)  # a write(2) takes it away
    os.utime(fd, ns=(before.st_atime_ns, before.st_mtime_ns))
    return stopped


def _capability(fd: int) -> bytes | None:
    try:
        return os.getxattr(fd, CAPABILITY)
    except OSError:
        return None


def _cut(span: Span, begins: int, ends: int) -> Iterator[Span]:
    if span[0] < min(span[1], begins):
        yield span[0], min(span[1], begins)
    if max(span[0], ends) < span[1]:
        yield max(span[0], ends), span[1]
