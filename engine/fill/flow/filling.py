"""The one way in which bytes come into a cold file, for readers that wait and for the background alike.

A range is fetched once at a time: who needs the same waits for that. Fetching holds no lock; bringing the bytes into
the file, its times and the map's entries holds the file's, which the mechanism takes when it notes a change of size.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext

from engine.env.clock import SYSTEM, Clock
from engine.fill.base import BLOCK_BYTES, COLD, DIGEST_BYTES, WARM, Away, ColdFile, Mechanism, Supply
from engine.fill.flow.ahead import AHEAD_BLOCKS, Ahead
from engine.fill.flow.asked import Asked
from engine.fill.flow.brought import Brought, brought
from engine.fill.flow.chunks import MOST_BLOCKS, Blocks, free_around, next_edge, overlapping, wished
from engine.fill.flow.storing import ALONE, CAREFUL, WATCHING, Part, Span, blocks_of, holes_of, store, without
from engine.fill.flow.suspects import Suspects
from engine.fill.kept.map import Map
from engine.fill.kept.sizes import Sizes
from engine.fill.kept.times import Times
from engine.fill.tree.privileges import privileges_of
from engine.model.errors import Damaged

AGAIN_SECONDS = 0.2

_GONE = (errno.ENOENT, errno.ESTALE)


class Filling:
    """See engine.fill.base.Fills. `left` (cold blocks by number), `blocks_left` and `waiting` are for showing."""

    mechanism: Mechanism

    def __init__(
        self,
        files: Sequence[ColdFile],
        map: Map,
        sizes: Sizes,
        supply: Supply,
        away_seconds: float,
        clock: Clock = SYSTEM,
        times: Times | None = None,
    ) -> None:
        self._times = times
        self._files, self._map, self._sizes, self._supply = files, map, sizes, supply
        self._away_seconds, self._clock = away_seconds, clock
        self._lock = threading.Lock()
        self.find_anew()
        self.ahead = Ahead(files, map, self._fill_between)
        self._refusing = self._stopped = False
        self.damaged: dict[int, str] = {}
        self.waiting = 0
        self.cutters: set[int] = set()
        self.away = False
        self.count({})

    def count(self, mixed: Mapping[tuple[int, int], Sequence[Span]], suspects: Suspects | None = None) -> None:
        """Take over what the map says, before anybody asks. `mixed` are blocks of which a part is there and stays:
        spans in bytes of the file by (number, block), see engine.fill.kept.rebuild."""
        self._mixed, self._suspects = dict(mixed), suspects
        self._known: dict[int, Asked] = {}
        self.left = [self._map.count_cold(file.first_block, file.first_block + file.blocks) for file in self._files]
        self.blocks_left = sum(self.left)
        self.files_left = sum(1 for left in self.left if left)

    def find_anew(self) -> None:
        """Know the files by the numbers that they have now."""
        self._numbers = {(file.dev, file.ino): file.number for file in self._files}

    # What mechanisms ask: engine.fill.base.Fills.

    def number_of(self, dev: int, ino: int) -> int | None:
        number = self._numbers.get((dev, ino))
        return None if number is None or not self.left[number] else number

    def file(self, number: int) -> ColdFile:
        return self._files[number]

    def files(self) -> Sequence[ColdFile]:
        return self._files

    def is_whole(self, number: int) -> bool:
        return not self.left[number]

    def ready(self, number: int, offset: int, length: int, size_now: int, reading: bool = False) -> bool:
        if not self.left[number]:
            return True
        known = self._of(number)
        if (known.flights and not reading) or 0 <= size_now < known.limit:
            return False
        first, end = self._range(number, known.limit, offset, length)
        if self._map.first_cold(first, end) >= 0:
            return False
        self.ahead.came(number, known, end - self._files[number].first_block)
        return True

    def ensure(self, number: int, offset: int, length: int, size_now: int, reading: bool = False) -> None:
        known = self._of(number)
        if 0 <= size_now < known.limit:
            self.truncated(number, size_now)
        if not self.left[number]:
            return
        base = self._files[number].first_block
        with self._waiter():
            while True:
                first, end = self._range(number, known.limit, offset, length)
                cold = self._map.first_cold(first, end)
                self.ahead.came(number, known, end - base)
                if cold < 0:
                    break
                self._fill(number, cold - base, min(end - base, cold - base + MOST_BLOCKS), demand=True)
        if not reading:
            with known.changed:  # not while times are being put back: a write's own time must stay
                pass

    def truncated(self, number: int, size: int) -> None:
        known = self._of(number)
        with known.changed:
            if size >= known.limit:
                return
            self._settle(number)
            self._sizes.note(number, size)
            known.limit = size
            file = self._files[number]
            self._warm(number, known, -(-size // BLOCK_BYTES), file.blocks)
        self._when_whole(number)

    def may_be_cut(self, number: int) -> None:
        self._of(number).careful = True

    def window(self, number: int) -> threading.Condition:
        return self._of(number).changed

    # What the background, and the end, ask.

    def fill_some(self, number: int, block: int, last: bool = False) -> int:
        """Fill the next cold blocks of a file from `block` on, up to MOST_BLOCKS; the block behind them, or -1 when
        nothing is cold from there on. Waits for a supply that is away; Damaged says what of it was lost.

        Blocks that are all hole stay cold until the `last` round, when nothing else is: then they are punched. A file
        that takes less room than it is long is asked for its data by who copies it, and what is cold looks like none.
        """
        return self._fill_between(number, block, self._files[number].blocks, last)

    def _fill_between(self, number: int, block: int, end: int, last: bool = False) -> int:
        file, known = self._files[number], self._of(number)
        _, most = self._range(number, known.limit, 0, 0)
        cold = self._map.first_cold(file.first_block + block, min(most, file.first_block + end))
        if cold < 0:
            return -1
        block = cold - file.first_block
        return self._fill(number, block, min(end, next_edge(block)), demand=False, last=last)

    def refuse(self) -> None:
        """The recovery is cancelled: whatever is cold is an error from now on; this thread may cut it off."""
        self._refusing = True
        self.cutters.add(threading.get_native_id())

    def stop(self) -> None:
        """Nothing new is begun; who waits for a supply gets an error."""
        self._stopped = True
        self.ahead.stop()

    # How it is done.

    def _settle(self, number: int) -> None:
        """What was cut off is off the disk before it is noted, else a power cut brings it back with nothing in it."""
        try:
            fd = self.mechanism.open(number)
        except OSError:
            return  # deleted
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def _of(self, number: int) -> Asked:
        known = self._known.get(number)
        if known is None:
            with self._lock:
                limit = min(self._files[number].size, self._sizes.smallest.get(number, self._files[number].size))
                known = self._known.setdefault(number, Asked(limit, self.left[number]))
        return known

    def _range(self, number: int, limit: int, offset: int, length: int) -> Blocks:
        """The blocks, of the map, of a range as far as it may be filled."""
        base = self._files[number].first_block
        end = limit if length <= 0 else min(limit, offset + length)
        return base + offset // BLOCK_BYTES, base + max(offset // BLOCK_BYTES, -(-end // BLOCK_BYTES))

    def _fill(self, number: int, block: int, end: int, demand: bool, last: bool = False) -> int:
        """Fetch and store around a cold block, or wait until somebody else has; the block behind what is there now."""
        needed = (block, end) if demand else (block, block)
        file, known = self._files[number], self._of(number)
        with known.changed:
            flight = overlapping(known.flights, block, block + 1)
            if flight is not None:
                known.changed.wait(AGAIN_SECONDS)
                return block
            if self._map.entry(file.first_block + block) != COLD:
                return block + 1
            chunk = self._chunk(file, known, block, end, demand)
            known.flights.append(chunk)
        try:
            try:
                parts = self._fetch(file, chunk, demand)
            except Damaged as error:
                if chunk == (block, block + 1):
                    self.damaged[number] = error.message
                    if demand:
                        raise OSError(errno.EIO, error.message) from error
                    raise
                with known.changed:
                    known.flights.remove(chunk)
                    chunk = (block, block + 1)  # what is whole beside it shall be had
                    known.flights.append(chunk)
                return self._alone(file, known, chunk, demand)
            found = brought(parts, chunk, known.limit)
            with known.changed:
                self._store(file, known, found, needed, last)
        finally:
            with known.changed:
                known.flights.remove(chunk)
                known.changed.notify_all()
        self._when_whole(number)
        return chunk[1]

    def _alone(self, file: ColdFile, known: Asked, chunk: Blocks, demand: bool) -> int:
        """One block of a chunk in which something is damaged."""
        try:
            parts = self._fetch(file, chunk, demand)
        except Damaged as error:
            self.damaged[file.number] = error.message
            if demand:
                raise OSError(errno.EIO, error.message) from error
            raise
        found = brought(parts, chunk, known.limit)
        with known.changed:
            self._store(file, known, found, chunk, False)
        self._when_whole(file.number)
        return chunk[1]

    def _chunk(self, file: ColdFile, known: Asked, block: int, end: int, demand: bool) -> Blocks:
        blocks = -(-known.limit // BLOCK_BYTES)
        if demand:
            if self._reads_on(file, known, block):
                known.run *= 2
            else:
                known.run = known.ahead_to = 0
            wish = wished(block, end, known.run, blocks)
        else:
            wish = block, max(block + 1, min(blocks, end))
        entries = self._map.entries(file.first_block + wish[0], file.first_block + wish[1])
        cold = [entries[at : at + DIGEST_BYTES] == COLD for at in range(0, len(entries), DIGEST_BYTES)]
        chunk = free_around(block, wish, known.flights, cold)
        if demand:
            known.next = chunk[1]
            known.run = min(MOST_BLOCKS, max(known.run, chunk[1] - block))
        return chunk

    def _reads_on(self, file: ColdFile, known: Asked, block: int) -> bool:
        """Whether nothing is cold between what was fetched last and this block: who reads on passes what is warm."""
        near = 0 <= known.next <= block <= known.next + AHEAD_BLOCKS
        return near and self._map.first_cold(file.first_block + known.next, file.first_block + block) < 0

    def _fetch(self, file: ColdFile, chunk: Blocks, demand: bool) -> Sequence[Part]:
        """The bytes of a chunk; waits while the supply is away, one who reads not longer than the set time."""
        offset = chunk[0] * BLOCK_BYTES
        length = min(file.size, chunk[1] * BLOCK_BYTES) - offset
        began = self._clock.monotonic()
        while True:
            if self._refusing or self._stopped:
                raise OSError(errno.EIO, "the recovery has been cancelled")
            try:
                parts = self._supply.read(file, offset, length)
            except Away as error:
                self.away = True
                if demand and self._clock.monotonic() - began >= self._away_seconds:
                    raise OSError(errno.EIO, f"the contents can't be had: {error}") from error
                self._clock.sleep(AGAIN_SECONDS)
            else:
                self.away = False
                return parts

    def _store(self, file: ColdFile, known: Asked, found: Brought, needed: Blocks, last: bool) -> None:
        """Bring a chunk into the file as far as it still goes; the file's lock is held."""
        try:
            fd = self.mechanism.open(file.number)
        except OSError as error:
            if error.errno not in _GONE:
                raise
            self._warm(file.number, known, 0, file.blocks)  # deleted, and nobody has it open
            return
        try:
            size = os.fstat(fd).st_size
            if size < known.limit:
                self.truncated(file.number, size)
            found = found.up_to(known.limit)
            start, end = found.start, found.start + len(found.data)
            if end <= start:
                return
            kept = self._kept(file, found.chunk)
            if self._suspects is not None:
                self._suspects.compare(file, fd, kept, start, found.data)
            holes = holes_of(found.parts, start, end) if not kept else []
            punched = [] if not last else holes
            spans, way = without([(start, end)], [*kept, *holes]), self._way(known)
            before = os.fstat(fd)
            had = privileges_of(fd, before)
            with self._times.kept(file.number, before, had) if self._times is not None else nullcontext():
                cut = store(fd, start, found.data, spans, punched, way, before, had)
            if cut is not None:
                self.truncated(file.number, cut)
                found = found.up_to(cut)
                end = min(end, cut)
            if end > start:
                empty = [] if last else [block for block in blocks_of(holes, end) if not needed[0] <= block < needed[1]]
                self._filled(file, known, found, empty)
        finally:
            os.close(fd)

    def _way(self, known: Asked) -> str:
        if self.mechanism.sees_truncation:
            return ALONE
        self.cutters.add(threading.get_native_id())
        return CAREFUL if known.careful else WATCHING

    def _kept(self, file: ColdFile, chunk: Blocks) -> list[Span]:
        """What a power cut left in blocks of which it took the rest: it stays."""
        if not self._mixed:
            return []
        return [span for block in range(*chunk) for span in self._mixed.get((file.number, block), ())]

    def _filled(self, file: ColdFile, known: Asked, found: Brought, empty: Sequence[int]) -> None:
        """Note what is there now; blocks that are `empty` are left for later."""
        entries, first = found.entries, found.chunk[0]
        count = len(entries) // DIGEST_BYTES
        if self._mixed or empty:
            changed = {block: WARM for block in range(first, first + count) if (file.number, block) in self._mixed}
            entries = found.entries_but(changed | dict.fromkeys(empty, COLD))
        self._map.set(file.first_block + first, entries)
        self._less(file.number, known, count - len(empty))

    def _warm(self, number: int, known: Asked, first: int, end: int) -> None:
        """Nothing is to be filled there any more."""
        base = self._files[number].first_block
        count = self._map.count_cold(base + first, base + end)
        for begins, ends in list(self._map.cold_runs(base + first, base + end)):
            self._map.set_warm(begins, ends)
        self._less(number, known, count)

    def _less(self, number: int, known: Asked, count: int) -> None:
        if not count:
            return
        known.left -= count
        with self._lock:
            self.left[number] = known.left
            self.blocks_left -= count
            if not known.left:
                self.files_left -= 1

    def _when_whole(self, number: int) -> None:
        if not self.left[number]:
            self.damaged.pop(number, None)  # it was repaired
            self.mechanism.whole(number)

    @contextmanager
    def _waiter(self) -> Iterator[None]:
        with self._lock:
            self.waiting += 1
        try:
            yield
        finally:
            with self._lock:
                self.waiting -= 1
