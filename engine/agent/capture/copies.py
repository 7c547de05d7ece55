"""Content that the node has already: which events a chunk's bytes came with, so that copies of it ship none.

For each chunk of a file the record keeps where its bytes are in the stream: a few entries, as long as there are few.
Chunks are found again by the digest of their first block, compared by the digests of all blocks, and referred to only
where every byte is acknowledged. The node reads what is referred to and compares: it takes nothing on our word.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from engine.agent.kept.record import Record

ENTRIES_MAX = 64
"""Of a chunk with more of them nothing is remembered: one that is written to here and there, again and again."""

COPY_BYTES_MIN = 512
"""Shorter content is sent: a reference takes as much."""

COPIED_BLOCKS_MIN = 2
"""Fewer changed blocks of a known chunk are not looked for elsewhere."""

CANDIDATES_MAX = 4
REFUSED_MAX = 3
"""After so many nothing is referred to until the agent starts again: each costs a gap and a look at everything."""
BASELINE_BYTES_MIN = 64 << 10
VERSION = 2
"""Of batches that copies come in (engine.wire.batch)."""

DIGEST_BYTES = 16
_HOLE = bytes(DIGEST_BYTES)
_UNSAID = b"\xff" * DIGEST_BYTES  # engine.agent.recovered.cold.ASK
_ENTRY = struct.Struct("<IIQI")

Entry = tuple[int, int, int, int]
"""(offset in the chunk, length, LSN of the extent, bytes of it before these); LSN 0: a hole."""

Placed = list[Entry]
"""Where the bytes of a chunk are, by offset. Of what no entry covers nothing is known."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A chunk that may hold the same: `file_id`'s, with the digests of its blocks."""

    file_id: int
    digests: bytes
    placed: Placed


def pack(placed: Placed) -> bytes:
    return b"".join([_ENTRY.pack(*entry) for entry in placed])


def unpack(packed: bytes | None) -> Placed:
    return list(_ENTRY.iter_unpack(packed or b""))


def over(packed: bytes | None, made: Placed) -> bytes | None:
    """The entries once `made` has come over them, packed; None for too many to remember."""
    placed = unpack(packed)
    if len(made) + len(placed) > 4 * ENTRIES_MAX:
        return None
    for new in made if placed else ():
        begin, end = new[0], new[0] + new[1]
        left: Placed = [new] if new[2] else []
        for offset, length, lsn, skip in placed:
            if offset < begin:
                left.append((offset, min(length, begin - offset), lsn, skip))
            if offset + length > end:
                at = max(offset, end)
                left.append((at, offset + length - at, lsn, skip + at - offset))
        placed = left
    placed = sorted(placed) if placed or not made else [entry for entry in made if entry[2]]
    return pack(placed) if len(placed) <= ENTRIES_MAX else None


def within(placed: Placed, begin: int, end: int, lsn_max: int) -> Placed | None:
    """The entries of [begin, end), cut to it; None unless they are all of it, and none is later than `lsn_max`."""
    found: Placed = []
    at = begin
    for offset, length, lsn, skip in placed:
        first, last = max(offset, begin), min(offset + length, end)
        if first >= last:
            continue
        if first > at or lsn > lsn_max:
            return None
        found.append((first, last - first, lsn, skip + first - offset))
        at = last
    return found if at == end else None


def key_of(digests: bytes, length: int) -> int | None:
    """By what a chunk of `length` bytes is found; None for one that is not worth it."""
    if length < COPY_BYTES_MIN or digests[:DIGEST_BYTES] in (_HOLE, _UNSAID):
        return None
    return int.from_bytes(digests[:8], "little", signed=True)


def candidates(record: Record, file_id: int, chunk: int, digests: bytes, length: int) -> Iterator[Candidate]:
    """Chunks that begin like this one, itself left out. None while the node does not take copies, and for the small
    ones of a baseline: most are new, and to look for each would cost more than the others save."""
    key = key_of(digests, length)
    new_to_us = length < BASELINE_BYTES_MIN and not record.fact("baseline_lsn")
    if key is None or new_to_us or record.fact("batch_version", 1) < VERSION:
        return
    for other, number, theirs, placed in record.chunks_like(key, CANDIDATES_MAX):
        if (other, number) != (file_id, chunk):
            yield Candidate(other, theirs, unpack(placed))


def alike(candidate: Candidate, digests: bytes, runs: Iterable[tuple[int, int]]) -> list[tuple[int, int, bool]]:
    """(first block, end block, whether they are the candidate's) for runs of blocks, cut where that changes."""
    theirs = candidate.digests
    found: list[tuple[int, int, bool]] = []
    for first, end in runs:
        at = first
        for block in range(first, end):
            digest = digests[block * DIGEST_BYTES : block * DIGEST_BYTES + DIGEST_BYTES]
            same = digest != _HOLE and digest == theirs[block * DIGEST_BYTES : block * DIGEST_BYTES + DIGEST_BYTES]
            if block > at and same != found[-1][2]:
                at = block
            if block == at:
                found.append((block, block + 1, same))
            else:
                found[-1] = (found[-1][0], block + 1, same)
    return found
