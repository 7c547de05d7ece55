"""The content of a file as extents: all of it the first time, later the blocks whose digests have changed.

A file that grew is compared like any other: growth is no evidence of an append. Digests (XXH3, 128 bits; nobody's
adversary, only a memory) stand for 8 KiB blocks; a block that lies wholly in a hole has zeros for its digest. What was
shipped and what the digests say always go into the record together, chunk by chunk. Of a block whose old bytes are
still there only the ranges are shipped that differ; bytes are the old ones if they have the digest that the record has.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from xxhash import xxh3_128_digest

from engine.agent.capture import copies
from engine.agent.capture.cache import NEAR_BYTES, OldBlocks, OldBytes, differing
from engine.agent.capture.outbox import Outbox
from engine.agent.kept.record import UNKNOWN_SIZE, Record
from engine.agent.traffic import Traffic
from engine.env.crash import crash
from engine.tree.sparse import data_ranges
from engine.wire.batch import meant
from engine.wire.limits import FRAME_BYTES

BLOCK_BYTES = 8192
DIGEST_BYTES = 16
CHUNK_BLOCKS = 512
CHUNK_BYTES = CHUNK_BLOCKS * BLOCK_BYTES
HOLE = bytes(DIGEST_BYTES)
KEPT_NEW_BYTES = 16 * BLOCK_BYTES
"""Of new content so much is kept as old bytes: a large new file would only drive out what is written to again. In a
baseline only as long as there is room."""
END_OF_FILES = 1 << 62
"""Beyond any file: a hole up to here covers whatever a node may still have."""

Ranges = list[tuple[int, int]]
"""(offset, length) of each range, ascending."""


class CutShort(Exception):
    """The file ended before its size while it was being read: it shrank."""


@dataclass(slots=True)
class Buffer:
    """The one buffer that files are read into, a chunk at a time."""

    view: memoryview

    @classmethod
    def make(cls) -> Buffer:
        return cls(memoryview(bytearray(CHUNK_BYTES)))


def digests_of(data: memoryview) -> bytes:
    """The digests of consecutive blocks."""
    if len(data) <= BLOCK_BYTES:
        return xxh3_128_digest(data) if len(data) else b""
    return b"".join([xxh3_128_digest(data[at : at + BLOCK_BYTES]) for at in range(0, len(data), BLOCK_BYTES)])


def ranges_of(fd: int, status: os.stat_result) -> Ranges:
    """(offset, length) of a file's data. That it takes as much space as it is long proves nothing: the space may be
    reserved and nothing written there, or lie beyond the end."""
    return data_ranges(fd, status.st_size)


def read_chunk(fd: int, buffer: Buffer, start: int, length: int, ranges: Ranges) -> Ranges:
    """Read [start, start+length) into the buffer; the parts of it that are data, as (offset in the chunk, length).

    CutShort when the file ends earlier. Holes are zeros in the buffer.
    """
    parts: Ranges = []
    for offset, size in ranges:
        first, end = max(offset, start), min(offset + size, start + length)
        if first < end:
            parts.append((first - start, end - first))
    if sum(size for _, size in parts) < length:
        buffer.view[:length] = bytes(length)
    for at, size in parts:
        done = 0
        while done < size:
            count = os.preadv(fd, [buffer.view[at + done : at + size]], start + at + done)
            if count == 0:
                raise CutShort
            done += count
    return parts


def chunk_digests(buffer: Buffer, length: int, parts: Ranges) -> bytes:
    """Digests of what `read_chunk` read: HOLE for blocks without any data."""
    if parts == [(0, length)]:
        return digests_of(buffer.view[:length])
    touched: set[int] = set()
    for at, size in parts:
        touched.update(range(at // BLOCK_BYTES, (at + size - 1) // BLOCK_BYTES + 1))
    view = buffer.view
    return b"".join(
        xxh3_128_digest(view[at : min(at + BLOCK_BYTES, length)]) if at // BLOCK_BYTES in touched else HOLE
        for at in range(0, length, BLOCK_BYTES)
    )


def changed_runs(old: bytes | None, new: bytes) -> Ranges:
    """(first block, end block) of the runs of blocks that differ. `old` None: nothing is known, so all do.

    Blocks beyond `old` had never anything in them, as holes.
    """
    count = len(new) // DIGEST_BYTES
    if old is None:
        return [(0, count)] if count else []
    old = old[: len(new)]
    if old == new:
        return []
    old = old.ljust(len(new), b"\0")
    runs: Ranges = []
    first = -1
    for block in range(count):
        at = block * DIGEST_BYTES
        if old[at : at + DIGEST_BYTES] != new[at : at + DIGEST_BYTES]:
            if first < 0:
                first = block
        elif first >= 0:
            runs.append((first, block))
            first = -1
    if first >= 0:
        runs.append((first, count))
    return runs


def _found_elsewhere(
    runs: Ranges, candidates: Iterable[copies.Candidate], new: bytes
) -> Iterator[tuple[int, int, copies.Candidate | None]]:
    """Runs of blocks, cut where they begin or cease to be those of the candidate that has most of them."""
    best: list[tuple[int, int, bool]] = []
    found: copies.Candidate | None = None
    for candidate in candidates:
        split = copies.alike(candidate, new, runs)
        if not best or _alike(split) > _alike(best):
            best, found = split, candidate
    if found is None:
        yield from ((first, end, None) for first, end in runs)
    else:
        yield from ((first, end, found if same else None) for first, end, same in best)


def _alike(split: list[tuple[int, int, bool]]) -> int:
    """How many blocks are another chunk's."""
    return sum(end - first for first, end, same in split if same)


def _join(found: Ranges, begin: int, end: int) -> None:
    """Add (begin, end) behind ranges of the same form, to the last of them where it is near."""
    if found and begin - found[-1][1] < NEAR_BYTES:
        found[-1] = (found[-1][0], end)
    else:
        found.append((begin, end))


def _is_data(parts: Ranges, begin: int, end: int) -> bool:
    """Whether [begin, end) is data without a hole in it."""
    at = begin
    for offset, size in parts:
        if offset <= at < offset + size:
            at = offset + size
    return at >= end


class Content:
    """Writes contents as events into an outbox, and digests into a record."""

    def __init__(self, record: Record, outbox: Outbox) -> None:
        self._record, self._outbox = record, outbox
        self.buffer = Buffer.make()
        self.old = OldBlocks("", OldBytes(0))
        self.traffic = Traffic()
        self.bytes_read = 0

    def read(self, count: int) -> None:
        """So many bytes were read of files."""
        self.bytes_read += count
        self.traffic.read += count

    def write(self, file_id: int, start: int, length: int, parts: Ranges, new: bytes, old: bytes | None) -> bool:
        """Emit what differs in the chunk at `start` that the buffer holds; whether anything did.

        `old` are the digests that the node's content has, b"" for a range that it has nothing of.
        """
        chunk, made = start // CHUNK_BYTES, copies.Placed()
        all_new = old == b"" and parts == [(0, length)]
        runs = [(0, len(new) // DIGEST_BYTES)] if all_new else changed_runs(old, new)
        many = not old or sum(end - first for first, end in runs) >= copies.COPIED_BLOCKS_MIN
        alike = self._candidates(file_id, chunk, new, length) if runs and many else []
        if all_new and not alike:
            self._write_new(file_id, start, length, new)
            return True
        for first, end, candidate in _found_elsewhere(runs, alike, new):
            begin, stop = first * BLOCK_BYTES, min(end * BLOCK_BYTES, length)
            copied = self._copy_run(file_id, start, begin, stop, parts, candidate) if candidate else None
            if copied is not None:
                made += copied
                continue
            for begin, stop in self._ranges(file_id, start, length, [(first, end)], new, old or b""):
                made += self._write_run(file_id, start, begin, stop, parts, old != b"")
        if runs or old is None or len(old) != len(new):
            placed = copies.over(self._record.placed(file_id, chunk) if old else b"", made)
            key = copies.key_of(new, length) if placed else None
            self._record.put_blocks(file_id, chunk, self._outbox.builder.lsn_next - 1, new, key, placed)
        return bool(runs)

    def _write_new(self, file_id: int, start: int, length: int, new: bytes) -> None:
        """Emit a chunk that is all data, of which the node has nothing. What most files of a tree are."""
        made = self._write_run(file_id, start, 0, length, [(0, length)], False)
        first = 0 if length <= KEPT_NEW_BYTES else length // BLOCK_BYTES * BLOCK_BYTES
        if self._record.fact("baseline_lsn") or self.old.has_room(length - first):  # a baseline would drive out its own
            for at in range(first, length, BLOCK_BYTES):
                block = bytes(self.buffer.view[at : min(at + BLOCK_BYTES, length)])
                self.old.put(file_id, (start + at) // BLOCK_BYTES, block)
        self.traffic.changed += length
        where = (file_id, start // CHUNK_BYTES, self._outbox.builder.lsn_next - 1)
        self._record.put_blocks(*where, new, copies.key_of(new, length), copies.pack(made))

    def _candidates(self, file_id: int, chunk: int, new: bytes, length: int) -> list[copies.Candidate]:
        """Chunks that may hold the same, unless the node has refused what was referred to."""
        if self.traffic.copies_refused >= copies.REFUSED_MAX:
            return []
        return list(copies.candidates(self._record, file_id, chunk, new, length))

    def _copy_run(
        self, file_id: int, start: int, begin: int, end: int, parts: Ranges, candidate: copies.Candidate
    ) -> copies.Placed | None:
        """Refer to another chunk's bytes for [begin, end) of this one; None where that can't be."""
        acknowledged = self._record.fact("acked_lsn", 0)
        entries = copies.within(candidate.placed, begin, end, acknowledged)
        if entries is None or not _is_data(parts, begin, end):
            return None
        builder, made = self._outbox.builder, copies.Placed()
        for at, length, lsn, skip in entries:
            data = self.buffer.view[at : at + length]
            if length < copies.COPY_BYTES_MIN:
                made.append((at, length, builder.extent(0, file_id, start + at, data), 0))
            else:
                source = (length, candidate.file_id, lsn, skip, meant(data))
                made.append((at, length, builder.copy(0, file_id, start + at, *source), 0))
        self.traffic.changed += end - begin
        return made

    def _ranges(self, file_id: int, start: int, length: int, runs: Ranges, new: bytes, old: bytes) -> Ranges:
        """(begin, end) in the chunk of what differs in runs of blocks; these are the old bytes from now on."""
        found: Ranges = []
        known = len(old) // DIGEST_BYTES
        for first, last in runs:
            # Much that is new is one range. Of its blocks one alone is kept: the last, unless it is full.
            kept = last if length <= KEPT_NEW_BYTES else min(max(first, known), last)
            full = max(kept, min(last, length // BLOCK_BYTES))
            for block in range(first, kept):
                self._add_differing(found, file_id, start, length, block, new, old)
            if kept < full:
                _join(found, kept * BLOCK_BYTES, full * BLOCK_BYTES)
            for block in range(full, last):
                self._add_differing(found, file_id, start, length, block, new, old)
        self.traffic.changed += sum(last - first for first, last in found)
        return found

    def _add_differing(
        self, found: Ranges, file_id: int, start: int, length: int, block: int, new: bytes, old: bytes
    ) -> None:
        """Add (begin, end) in the chunk of what differs in one block; this is its old content from now on."""
        begin, end = block * BLOCK_BYTES, min(block * BLOCK_BYTES + BLOCK_BYTES, length)
        digest = slice(block * DIGEST_BYTES, block * DIGEST_BYTES + DIGEST_BYTES)
        differ: Ranges | None = None
        if new[digest] != HOLE:
            now = bytes(self.buffer.view[begin:end])
            number = start // BLOCK_BYTES + block
            before = self.old.get(file_id, number) if old[digest] else None
            if before is not None and xxh3_128_digest(before) == old[digest]:
                differ = differing(before, now)
            self.old.put(file_id, number, now)
        for first, last in [(0, end - begin)] if differ is None else differ:
            _join(found, begin + first, begin + last)

    def _write_run(self, file_id: int, start: int, first: int, end: int, parts: Ranges, holes: bool) -> copies.Placed:
        """Emit [first, end) of the chunk; where that is in the stream now."""
        builder, view, made = self._outbox.builder, self.buffer.view, copies.Placed()
        at = first
        for offset, size in parts:
            begin, stop = max(offset, first), min(offset + size, end)
            if begin >= stop:
                continue
            if holes and begin > at:
                builder.hole(0, file_id, start + at, begin - at)
                made.append((at, begin - at, 0, 0))
            for piece in range(begin, stop, FRAME_BYTES):
                data = view[piece : min(piece + FRAME_BYTES, stop)]
                made.append((piece, len(data), builder.extent(0, file_id, start + piece, data), 0))
            at = stop
        if holes and end > at:
            builder.hole(0, file_id, start + at, end - at)
            made.append((at, end - at, 0, 0))
        return made

    def stream(self, fd: int, file_id: int, status: os.stat_result, size_known: int | None) -> bool:
        """Compare and emit a whole file, chunk by chunk; whether anything differed.

        What a file that shrank has lost goes first: what follows may reach the node in several batches.

        `size_known` is the size that the node has, UNKNOWN_SIZE, or None for a new file. CutShort as `read_chunk`.
        """
        size = status.st_size
        changed = self.cut(file_id, size, size_known)
        ranges = ranges_of(fd, status)
        done = 0
        for start in self._chunks(file_id, size, ranges):
            if size_known == UNKNOWN_SIZE and start > done:
                self._outbox.builder.hole(0, file_id, done, start - done)
            length = min(CHUNK_BYTES, size - start)
            done = start + length
            parts = read_chunk(fd, self.buffer, start, length, ranges)
            self.read(length)
            old = self.old_digests(file_id, start, size_known)
            changed |= self.write(file_id, start, length, parts, chunk_digests(self.buffer, length, parts), old)
            crash("chunk-captured")
            self._outbox.close_if_full()
            self._outbox.breathe()
        if size_known == UNKNOWN_SIZE and size > done:
            self._outbox.builder.hole(0, file_id, done, size - done)
        return changed

    def _chunks(self, file_id: int, size: int, ranges: Ranges) -> Iterator[int]:
        """Where the chunks begin in which there is data, or was: a hole of terabytes has nothing to compare."""
        if ranges == [(0, size)]:
            yield from range(0, size, CHUNK_BYTES)
            return
        last = -1
        had = (chunk for chunk in self._record.chunks(file_id) if chunk * CHUNK_BYTES < size)
        have = (chunk for at, length in ranges for chunk in range(at // CHUNK_BYTES, -(-(at + length) // CHUNK_BYTES)))
        for chunk in heapq.merge(had, have):
            if chunk > last:
                yield chunk * CHUNK_BYTES
                last = chunk

    def old_digests(self, file_id: int, start: int, size_known: int | None) -> bytes | None:
        """Digests of what the node has in a chunk: b"" for nothing, None when that isn't known.

        A chunk without digests was a hole whenever it was looked at, unless the size is unknown too.
        """
        if size_known is None:
            return b""
        old = self._record.blocks(file_id, start // CHUNK_BYTES)
        return b"" if old is None and size_known != UNKNOWN_SIZE else old

    def cut(self, file_id: int, size: int, size_known: int | None) -> bool:
        """Cover what a file that shrank has lost with a hole, so that old bytes can't come back when it grows."""
        if size_known is None or 0 <= size_known <= size:
            return False
        end = END_OF_FILES if size_known == UNKNOWN_SIZE else size_known
        # From the block on that the new end lies in: what is left of it counts as new, and is sent if it is data.
        first = size // BLOCK_BYTES * BLOCK_BYTES
        self._outbox.builder.hole(0, file_id, first, end - first)
        chunk, within = divmod(size, CHUNK_BYTES)
        kept = self._record.blocks(file_id, chunk)
        self._record.cut_blocks(file_id, chunk)
        if kept is not None and within:
            whole = within // BLOCK_BYTES * DIGEST_BYTES
            self._record.put_blocks(file_id, chunk, self._outbox.builder.lsn_next - 1, kept[:whole])
        return True
