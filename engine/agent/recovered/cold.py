"""What capture knows of a recovered tree without reading it: which blocks are cold, and what the filled ones were.

A cold block is what the journal has, by definition. A filled one is compared with the digest of what the fill brought.
What the record itself has said of a block since goes before both. Of a file that was cut, what lay behind the cut is
the journal's no more: the record keeps how far a file was cut, beside its digests.
"""

from __future__ import annotations

import os
import struct
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from engine.agent.capture.content import BLOCK_BYTES, CHUNK_BLOCKS, DIGEST_BYTES, HOLE
from engine.agent.kept.record import Record
from engine.agent.recovered.standing import MOUNTED, Standing
from engine.fill import base
from engine.fill.kept import rebuild, table
from engine.fill.kept.map import Map, digest
from engine.fill.kept.times import OwnTimes
from engine.fill.tree.handles import handle_of
from engine.tree.attributes import read_xattrs

ASK = base.WARM
"""In the record's digests: nothing was said of this block since the recovery. To the map: nothing is known of it."""
_CUT = "cut:%d"
"""The fact that tells how far a file, by its file_id, was cut; negative: it is gone, another has its number."""
_SIZE = struct.Struct("<QQ")
_ZEROS = memoryview(bytes(BLOCK_BYTES))


@dataclass(slots=True)
class File:
    """One file that was cold. `limit`: from this byte on the journal's bytes count no more."""

    file_id: int
    number: int
    first_block: int
    size: int
    limit: int

    @property
    def end(self) -> int:
        """The block behind the last that is the journal's, or the fill's."""
        return -(-self.limit // BLOCK_BYTES)


class Cold:
    """The cold files of one recovery, for the one thread that captures. About 60 bytes a file."""

    def __init__(self, standing: Standing, record: Record) -> None:
        self.standing, self._record = standing, record
        self._map = Map(standing.place.map)
        # A mount of ours tells the own times itself, of what the kernel keeps too.
        self._times = None if standing.recipe.mechanism == base.FUSE else OwnTimes(standing.place.times)
        files = sorted(table.read(standing.place.files), key=lambda file: file.file_id)
        self._ids = array("Q", (file.file_id for file in files))
        self._columns = array("Q", (value for file in files for value in (file.number, file.first_block, file.size)))
        self.mounted, self.plain = record.fact(MOUNTED, 0), files[0].dev if files else 0
        # Behind a mount of ours files have other handles.
        self._handles = [b"" if self.mounted else file.handle for file in files]
        self._cut: dict[int, int] = {}
        self._read_to = 0
        self._suspects: dict[int, list[int]] = {}
        for number, block in sorted(rebuild.read_suspects(standing.place.mixed)):
            self._suspects.setdefault(number, []).append(block)
        if self.mounted and standing.dev:
            self._move_to(standing.dev)  # it may have been mounted anew, under another number

    def status(self, file: File, fd: int) -> os.stat_result:
        """The status of an open file, never with the time of a fill."""
        return os.fstat(fd) if self._times is None else self._times.status(file.number, fd)

    def xattrs(self, file: File, fd: int) -> bytes:
        """The attributes of an open file, with the capability that a fill has just taken."""
        read = partial(read_xattrs, fd)
        return read() if self._times is None else self._times.xattrs(file.number, read)

    def ids(self) -> array[int]:
        """The file_ids of all of them, ascending."""
        return self._ids

    def file(self, file_id: int, fd: int = -1) -> File | None:
        """A file of the recovery; None for any other. With `fd`, the open file: None too if that is another one by
        now, under the same number; then nothing that was known holds for it."""
        at = bisect_left(self._ids, file_id)
        if at >= len(self._ids) or self._ids[at] != file_id:
            return None
        number, first_block, size = self._columns[3 * at : 3 * at + 3]
        limit = self._record.fact(_CUT % file_id, size)
        if limit < 0 or (fd >= 0 and not self._is(at, fd)):
            return None
        return File(file_id, number, first_block, size, min(limit, size))

    def lost(self, file_id: int) -> bool:
        """Whether another file is now where one of the recovery was, by its number, and this is the first time that
        somebody asks: nothing of what was known holds for it."""
        at = bisect_left(self._ids, file_id)
        there = at < len(self._ids) and self._ids[at] == file_id
        if not there or self._record.fact(_CUT % file_id, 0) < 0:
            return False
        self._record.set_fact(_CUT % file_id, -1)
        return True

    def follow_mount(self) -> None:
        """A mount of ours may have gone, now that all is there: its files are seen plainly from then on."""
        with suppress(OSError):
            if self.mounted and os.stat(self.standing.recipe.dir).st_dev == self.plain:
                self._move_to(self.plain)

    def _move_to(self, dev: int) -> None:
        if dev != self.mounted:
            self._record.move_device(self.mounted, dev)
            self.mounted = dev if dev != self.plain else 0
            self._record.set_fact(MOUNTED, self.mounted)

    def smallest(self, file: File) -> int:
        """The smallest size that was seen of a file while some of it was cold."""
        self._read_sizes()
        return self._cut.get(file.number, file.size)

    def cut(self, file: File, size: int) -> None:
        """From `size` on the journal has a hole now."""
        file.limit = min(file.limit, size)
        self._record.set_fact(_CUT % file.file_id, file.limit)

    def cold_runs(self, file: File) -> list[tuple[int, int]]:
        """(first, end) of the runs of blocks that are cold, in blocks of the file, ascending."""
        base_block = file.first_block
        found = [
            (first - base_block, end - base_block)
            for first, end in self._map.cold_runs(base_block, base_block + file.end)
        ]
        # Somebody may have written there while nobody guarded the tree: reading has it filled around that.
        return list(between(found, self._suspects.get(file.number, ())))

    def known(self, file: File, chunk: int, count: int) -> bytes:
        """What the node has in the `count` first blocks of a chunk: digests, ASK where only reading it would tell."""
        row = self._record.blocks(file.file_id, chunk)
        first = chunk * CHUNK_BLOCKS
        if row is not None and ASK not in _each(row):
            return row
        theirs = self._theirs(file, first, count)
        if row is None:
            return theirs
        mine = row[: count * DIGEST_BYTES].ljust(count * DIGEST_BYTES, b"\0")
        return b"".join(one if one != ASK else two for one, two in zip(_each(mine), _each(theirs), strict=True))

    def _theirs(self, file: File, first: int, count: int) -> bytes:
        end = min(first + count, file.end)
        if end <= first:
            return HOLE * count
        entries = self._map.entries(file.first_block + first, file.first_block + end)
        found = b"".join(one if one != base.COLD else ASK for one in _each(entries))
        return found.ljust(count * DIGEST_BYTES, b"\0")

    def close(self) -> None:
        self._map.close()
        if self._times is not None:
            self._times.close()

    def _is(self, at: int, fd: int) -> bool:
        handle = self._handles[at]
        if not handle:
            return True
        try:
            return handle_of(fd) == handle
        except OSError:
            return True

    def _read_sizes(self) -> None:
        """What was added to the sizes since they were last read; nothing is ever taken from them."""
        with suppress(FileNotFoundError):
            if os.stat(self.standing.place.sizes).st_size <= self._read_to:
                return
            with self.standing.place.sizes.open("rb") as file:
                file.seek(self._read_to)
                data = file.read()
            whole = len(data) - len(data) % _SIZE.size
            for number, size in _SIZE.iter_unpack(data[:whole]):
                self._cut[number] = min(size, self._cut.get(number, size))
            self._read_to += whole


def between(runs: Iterable[tuple[int, int]], points: Sequence[int]) -> Iterator[tuple[int, int]]:
    """What of the runs is left without some points; all ascend."""
    for first, end in runs:
        at = first
        for point in points[bisect_left(points, first) : bisect_left(points, end)]:
            if point > at:
                yield at, point
            at = point + 1
        if at < end:
            yield at, end


def alike(known: bytes, new: bytes, length: int) -> bytes:
    """`known` with the words of `new` for blocks that are zeros in both: a hole, and zeros that were filled in."""
    if known == new:
        return known
    whole, last = digest(_ZEROS), digest(_ZEROS[: (length - 1) % BLOCK_BYTES + 1])
    end = -(-length // BLOCK_BYTES) - 1
    zeros = (HOLE, whole)
    found = []
    for block, (one, two) in enumerate(zip(_each(known), _each(new), strict=True)):
        these = (HOLE, last) if block == end and length % BLOCK_BYTES else zeros
        found.append(two if one in these and two in these else one)
    return b"".join(found)


def _each(digests: bytes) -> list[bytes]:
    return [digests[at : at + DIGEST_BYTES] for at in range(0, len(digests), DIGEST_BYTES)]
