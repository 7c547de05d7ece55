"""A known file compared in part: only the blocks that given ranges touch, and what lies beyond the size that was known.

The digests of all other blocks stay what they were. The block in which the old end lay, or the new one lies, is always
among the compared. Holes are not read: of a long range only the chunks with data, or with digests, are looked at.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from engine.agent.capture.content import (
    BLOCK_BYTES,
    CHUNK_BLOCKS,
    CHUNK_BYTES,
    DIGEST_BYTES,
    HOLE,
    Buffer,
    Content,
    Ranges,
    chunk_digests,
    read_chunk,
)
from engine.agent.capture.outbox import Outbox
from engine.agent.kept.record import Record
from engine.agent.ranges.base import merged
from engine.env.crash import crash
from engine.tree.sparse import data_ranges

_LONG_BYTES = 16 * CHUNK_BYTES

_LOOKED_AT_BYTES = 1 << 20
"""Of a run so long, that begins with zeros, it is asked whether there is any data: reading zeros takes longer."""

_PIECE_BYTES = 1024
_ZEROS = bytes(_PIECE_BYTES)

Blocks = list[tuple[int, int]]
"""(first block, end block) of each run, ascending."""


def compare(
    content: Content, record: Record, outbox: Outbox, fd: int, file_id: int, sizes: tuple[int, int], ranges: Ranges
) -> None:
    """Compare and emit what the ranges touch of an open file; `sizes` are its own and the one that the node has.

    CutShort when the file ends before that. OSError when it can't be read.
    """
    size, size_known = sizes
    content.cut(file_id, size, size_known)
    runs = touched_blocks(ranges, size, size_known)
    for chunk, within in _chunks(record, fd, file_id, runs):
        start = chunk * CHUNK_BYTES
        length = min(CHUNK_BYTES, size - start)
        old = content.old_digests(file_id, start, size_known) or b""
        parts, new = read_runs(content, fd, start, length, within, old)
        content.write(file_id, start, length, parts, new, old)
        crash("chunk-captured-partly")
        outbox.close_if_full()
        outbox.breathe()


def touched_blocks(ranges: Ranges, size: int, size_known: int) -> Blocks:
    """The blocks of a file of `size` bytes that ranges touch, or that its change of size does."""
    end = -(-size // BLOCK_BYTES)
    spans = [(at // BLOCK_BYTES, min(-(-(at + length) // BLOCK_BYTES), end)) for at, length in ranges if at < size]
    if size != size_known:
        spans.append((min(size, size_known) // BLOCK_BYTES, end))
    return merged(spans)


def _chunks(record: Record, fd: int, file_id: int, runs: Blocks) -> Iterator[tuple[int, Blocks]]:
    """(chunk, the runs in it counted from its first block) for every chunk that is to be looked at, ascending."""
    last = -1
    within: Blocks = []
    for first, end in runs:
        for chunk in _chunks_of_run(record, fd, file_id, first, end):
            if chunk != last:
                if within:
                    yield last, within
                last, within = chunk, []
            begin = chunk * CHUNK_BLOCKS
            within.append((max(first - begin, 0), min(end - begin, CHUNK_BLOCKS)))
    if within:
        yield last, within


def _chunks_of_run(record: Record, fd: int, file_id: int, first: int, end: int) -> list[int]:
    chunks = range(first // CHUNK_BLOCKS, -(-end // CHUNK_BLOCKS))
    if (end - first) * BLOCK_BYTES <= _LONG_BYTES:
        return list(chunks)
    found = {chunk for chunk in record.chunks(file_id) if chunk in chunks}
    for at, length in data_ranges(fd, end * BLOCK_BYTES, first * BLOCK_BYTES):
        found.update(range(at // CHUNK_BYTES, -(-(at + length) // CHUNK_BYTES)))
    return sorted(found.intersection(chunks))


def read_runs(content: Content, fd: int, start: int, length: int, within: Blocks, old: bytes) -> tuple[Ranges, bytes]:
    """Read the runs of a chunk into the buffer; (the parts of it that are data, the digests of the whole chunk)."""
    count = -(-length // BLOCK_BYTES)
    new = bytearray(old[: count * DIGEST_BYTES].ljust(count * DIGEST_BYTES, b"\0"))
    parts: Ranges = []
    for first, end in within:
        begin, stop = first * BLOCK_BYTES, min(end * BLOCK_BYTES, length)
        if stop - begin >= _LOOKED_AT_BYTES and _is_hole(fd, start + begin, start + stop):
            new[first * DIGEST_BYTES : end * DIGEST_BYTES] = HOLE * (end - first)
            continue
        run = Buffer(content.buffer.view[begin:stop])
        found = read_chunk(fd, run, start + begin, stop - begin, [(start + begin, stop - begin)])
        content.read(stop - begin)
        if _may_have_holes(run.view):
            found = read_chunk(fd, run, start + begin, stop - begin, data_ranges(fd, start + stop, start + begin))
        new[first * DIGEST_BYTES : end * DIGEST_BYTES] = chunk_digests(run, stop - begin, found)
        parts += [(begin + at, size) for at, size in found]
    return parts, bytes(new)


def _is_hole(fd: int, start: int, end: int) -> bool:
    """Whether a file has nothing in a range; asked only where it begins with zeros, as below."""
    return os.pread(fd, _PIECE_BYTES, start) == _ZEROS and not data_ranges(fd, end, start)


def _may_have_holes(data: memoryview) -> bool:
    """Whether there are zeros enough for a hole. Only then the file system is asked, which may wait for a writer."""
    firsts = bytes(data[::_PIECE_BYTES])  # of most pieces the first byte tells
    number = firsts.find(0)
    while number >= 0:
        if data[number * _PIECE_BYTES : (number + 1) * _PIECE_BYTES] == _ZEROS:
            return True
        number = firsts.find(0, number + 1)
    return False
