"""Bring fetched bytes into a real file: data written, holes punched, times put back, nothing beyond its end."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence

from engine.env.crash import crash
from engine.fill.base import BLOCK_BYTES
from engine.fill.tree.privileges import Privileges, give_again, privileges_of
from engine.fill.tree.within import write_within
from engine.tree.apply import write_extent
from engine.tree.sparse import make_hole

PAGE_BYTES = 4096
"""A hole is punched where whole pages of it are; narrower ones are written as zeros."""

ALONE, WATCHING, CAREFUL = "alone", "watching", "careful"
"""How bytes are written: ALONE, nobody cuts the file meanwhile. WATCHING, it may be emptied (O_TRUNC): a write(2) never
reaches the file's last page, so the size tells; that page is stored so that it never makes the file longer. CAREFUL, it
may be cut to any size: all of it is stored like that, at a tenth of the speed."""

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


def blocks_of(holes: Sequence[Span], end: int) -> list[int]:
    """The blocks that lie in a hole as a whole, the file's last one as far as `end`."""
    found: list[int] = []
    for begins, ends in holes:
        first = -(-begins // BLOCK_BYTES)
        found += range(first, -(-ends // BLOCK_BYTES) if ends >= end else ends // BLOCK_BYTES)
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
    way: str = ALONE,
    before: os.stat_result | None = None,
    privileges: Privileges | None = None,
) -> int | None:
    """Write `spans` of the bytes `data`, which begin at `start`; punch `holes`, none of which is in the spans.

    None when all of it is there; else the size to which somebody has cut the file meanwhile: it is that long, or as
    long as others have made it since, and has nothing of ours behind that. Times and `privileges`
    stay, as they are in `before`, its status just before that. OSError.
    """
    if before is None:
        before = os.fstat(fd)
    if privileges is None:
        privileges = privileges_of(fd, before)
    view = memoryview(data)
    for begins, ends in holes:
        make_hole(fd, begins, ends - begins)
    last = 0 if way == CAREFUL else before.st_size if way == ALONE else (before.st_size - 1) // PAGE_BYTES * PAGE_BYTES
    written = 0
    for begins, ends in without(spans, [(last, max(last, start + len(view)))]):
        write_extent(fd, begins, view[begins - start : ends - start])
        written = ends
    if way == WATCHING and os.fstat(fd).st_size < before.st_size:
        _take_back(fd, start, written)
        return 0
    for begins, ends in without(spans, [(start, last)]) if way != ALONE else ():
        if write_within(fd, begins, view[begins - start : ends - start]) < ends - begins:
            size = os.fstat(fd).st_size
            if size >= ends:
                raise OSError(errno.EIO, f"the file system did not take {ends - begins} bytes at {begins}")
            return size if way == CAREFUL else 0
    if privileges:
        crash("filled-before-its-privileges")
        give_again(fd, privileges)
    crash("filled-before-its-time")
    os.utime(fd, ns=(before.st_atime_ns, before.st_mtime_ns))
    return None


def _take_back(fd: int, start: int, written: int) -> None:
    """The file was emptied just before a write of ours made it longer again: what was written goes."""
    if 0 < os.fstat(fd).st_size <= written:
        os.ftruncate(fd, 0)
    else:
        make_hole(fd, start, written - start)


def _cut(span: Span, begins: int, ends: int) -> Iterator[Span]:
    if span[0] < min(span[1], begins):
        yield span[0], min(span[1], begins)
    if max(span[0], ends) < span[1]:
        yield max(span[0], ends), span[1]
