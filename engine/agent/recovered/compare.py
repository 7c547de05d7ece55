"""A file of a recovered tree compared with what the node has of it, without a look at what is cold.

Cold blocks are skipped, whatever is said of their ranges; filled ones are compared with what the fill brought. What a
cut took away is a hole to the byte: the rest of a cold block is what the journal has.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from engine.agent.capture.content import BLOCK_BYTES, CHUNK_BLOCKS, CHUNK_BYTES, DIGEST_BYTES, END_OF_FILES, Content
from engine.agent.capture.outbox import Outbox
from engine.agent.capture.partly import Blocks, read_runs, touched_blocks
from engine.agent.kept.record import UNKNOWN_SIZE, Record
from engine.agent.ranges.base import Ranges
from engine.agent.recovered.cold import ASK, Cold, File, alike
from engine.agent.recovered.holes import emptied, has_data
from engine.tree.sparse import data_ranges


def compare(
    content: Content,
    record: Record,
    outbox: Outbox,
    cold: Cold,
    file: File,
    fd: int,
    sizes: tuple[int, int],
    ranges: Ranges | None,
) -> None:
    """Compare and emit what may have changed of an open file; `sizes` are its own and the one that the node has,
    `ranges` where it may have, None for anywhere. CutShort when it ends before that; OSError when it can't be read."""
    size, size_known = sizes
    size_known = _cut(record, outbox, cold, file, size, size_known)
    anywhere = ranges is None or size_known == UNKNOWN_SIZE
    runs = [(0, -(-size // BLOCK_BYTES))] if anywhere else touched_blocks(ranges or [], size, size_known)
    data = data_ranges(fd, size) if anywhere else [(0, size)]
    still_cold = cold.cold_runs(file)
    if still_cold:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)  # what is read ahead behind a mount is filled: nobody asked
    for chunk, within in _chunks(without(runs, still_cold)):
        start = chunk * CHUNK_BYTES
        length = min(CHUNK_BYTES, size - start)
        count = -(-length // BLOCK_BYTES)
        known = cold.known(file, chunk, count) if size_known != UNKNOWN_SIZE else ASK * count
        if has_data(data, start, start + length):
            parts, new = read_runs(content, fd, start, length, within, known)
        else:
            parts, new = [], emptied(known, within)
        old = alike(known[: len(new)].ljust(len(new), b"\0"), new, length)
        content.write(file.file_id, start, length, parts, new, old)
        outbox.close_if_full()
        outbox.breathe()


def without(runs: Blocks, cold: Blocks) -> Blocks:
    """What of the runs no other run covers; both ascending."""
    found: Blocks = []
    for first, end in runs:
        at = first
        for begin, stop in cold:
            if stop <= at or begin >= end:
                continue
            if begin > at:
                found.append((at, begin))
            at = max(at, stop)
        if at < end:
            found.append((at, end))
    return found


def _cut(record: Record, outbox: Outbox, cold: Cold, file: File, size: int, size_known: int) -> int:
    """Cover with a hole what the file has lost since the node heard of it; the size that the node has then."""
    smallest = cold.smallest(file)
    cut_to = size if size_known == UNKNOWN_SIZE or size < size_known else None
    if size_known == UNKNOWN_SIZE and file.limit < file.size:
        cut_to = min(size, file.limit)  # what told of the cut may have been lost with the size
    if smallest < file.limit:
        cut_to = smallest if cut_to is None else min(cut_to, smallest)
    if cut_to is None:
        return size_known
    end = END_OF_FILES if size_known == UNKNOWN_SIZE else max(size_known, file.size)
    chunk, within = divmod(cut_to, CHUNK_BYTES)
    kept = record.blocks(file.file_id, chunk) or b""
    blocks = within // BLOCK_BYTES
    last = kept[blocks * DIGEST_BYTES : (blocks + 1) * DIGEST_BYTES]
    # Of a block that capture has seen since, what is left counts as new, and is sent if it is data.
    begin = cut_to if last in (b"", ASK) else cut_to // BLOCK_BYTES * BLOCK_BYTES
    if end > begin:
        outbox.builder.hole(0, file.file_id, begin, end - begin)
    cold.cut(file, cut_to)
    record.cut_blocks(file.file_id, chunk)
    if kept and within:
        rest = last if last == ASK and within % BLOCK_BYTES else b""
        record.put_blocks(file.file_id, chunk, outbox.builder.lsn_next - 1, kept[: blocks * DIGEST_BYTES] + rest)
    return size_known if size_known == UNKNOWN_SIZE else min(cut_to, size_known)


def _chunks(runs: Blocks) -> Iterator[tuple[int, Blocks]]:
    """(chunk, the runs in it counted from its first block), ascending."""
    found: dict[int, Blocks] = {}
    for first, end in runs:
        for chunk in range(first // CHUNK_BLOCKS, -(-end // CHUNK_BLOCKS)):
            begin = chunk * CHUNK_BLOCKS
            found.setdefault(chunk, []).append((max(first - begin, 0), min(end - begin, CHUNK_BLOCKS)))
    yield from sorted(found.items())
