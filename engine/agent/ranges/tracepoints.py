"""Ranges of writes from the kernel's trace events, on ext4 and xfs.

Why a look at a traced range is enough, and when it isn't:

- Files become known by one comparison of everything, or by being found unchanged by their numbers and times, after
  tracing had begun. From then on whatever changes is in the ring before the system call that did it returns, so before
  its fanotify event. Ranges are rounded out to pages. Lost records make every file unknown again.
- ext4 traces the end of each piece of a write, after its bytes were copied: a look that begins after the record was
  taken reads them. xfs traces the beginning, but holds the inode's lock from before that until the bytes are there, and
  read(2) waits for that lock. A record may come before the size grows: what lies beyond the known size is compared
  besides the ranges.
- Direct writes, and what fallocate(2) does on ext4, are traced before they happen. Such a range settles: it stays until
  a look that began SETTLE_SECONDS after it (after a direct write's completion, COMPLETED_SECONDS), and is in all looks
  before that.
- A store through a mapping shows only when it makes a clean page dirty: DIRTIED without a write of the same process
  around it (on xfs FAULTED comes before it). The page may be stored into unseen until it is written back, so it is hot:
  looked at every HOT_SECONDS, until it was clean before a look. Folios may hold many pages and only the first is named;
  they lie aligned, so the range is as large as the alignment allows. Stores into a page that write(2) had made dirty
  before show nowhere on ext4. But nobody stores through a mapping whose pages he has not touched: TOUCHED names the
  file, and until it is known to be unmapped again all its dirty pages are in every look. Mappings that last are found
  by `mapped`, which asks all processes. In a mapped file whatever is written is hot; in one that is found to be mapped
  also what was written since the pass before, and all dirty pages.
"""

from __future__ import annotations

import struct
from collections.abc import Set
from mmap import PAGESIZE

from engine.agent.ranges import kinds
from engine.agent.ranges.base import END, SMALL_BYTES, WHOLE, Ranges, clipped
from engine.agent.ranges.devices import Device
from engine.agent.ranges.file import TracedFile
from engine.agent.ranges.fillers import Fillers
from engine.agent.ranges.ring import PageDamaged
from engine.agent.ranges.traced import Meaning, Traced
from engine.agent.ranges.tracefs import BUFFER_BYTES, Instance
from engine.env.clock import SYSTEM, Clock

OVERRAN_SECONDS = 600.0
OVERRAN = (
    "The kernel lost traces of writes in the last minutes: each big file is read whole once after its next change."
)
FOLIO_PAGES_MAX = 512
WRITE_SECONDS = 200e-6
"""A write on ext4 makes its folio dirty at most this long after its record: else it was someone else."""

TOUCHED_ROUNDS = 2
"""Passes over all processes that end before a file that was touched through a mapping, and is found unmapped, counts as
unmapped: of these the second began after it was touched."""

_WRITERS_MAX = 4096
_NANO = 1_000_000_000

Key = tuple[int, int]


class Tracepoints:
    """The trace events of the file systems that files are asked about on, in one instance. NoTracing from the start."""

    def __init__(self, clock: Clock = SYSTEM, buffer_bytes: int = BUFFER_BYTES, fillers: Fillers | None = None) -> None:
        """What threads of `fillers` write changes nothing that is known."""
        self._clock = clock
        self._overran_at = float("-inf")
        self._known: dict[int, set[int]] = {}
        self._files: dict[Key, TracedFile] = {}
        self._writers: dict[int, tuple[int, int, int, int, int]] = {}
        self._faulting: dict[int, tuple[int, int]] = {}
        self._touched: dict[Key, int] = {}
        self._fillers = fillers
        self._number = struct.Struct("=H").unpack_from
        meanings: dict[str, Meaning] = {
            kinds.WRITTEN: self._written,
            kinds.BEGUN: self._begun,
            kinds.DIRECT: self._direct,
            kinds.COMPLETED: self._completed,
            kinds.REMAPPED: self._remapped,
            kinds.CUT: self._cut,
            kinds.TRUNCATING: self._truncating,
            kinds.REMOVING: self._removing,
            kinds.TRUNCATED: self._truncated,
            kinds.ALL: self._all,
            kinds.ALL_BEGUN: self._all_begun,
            kinds.FAULTED: self._faulted,
            kinds.DIRTIED: self._dirtied,
        }
        self._traced = Traced(Instance(buffer_bytes), meanings)

    @property
    def mechanism(self) -> str:
        devices = self._traced.devices
        return "trace" if any(devices.values()) or not devices else "none"

    @property
    def costs(self) -> str:
        overran = self._clock.monotonic() - self._overran_at < OVERRAN_SECONDS
        return " ".join(filter(None, (self._traced.untraced, OVERRAN if overran else "")))

    # What others ask.

    def protect(self, dev: int, fd: int) -> None:
        if dev not in self._traced.devices and self._traced.add(dev, fd):
            self._known[dev] = set()  # what was known of its files before stays unknown

    def take(self) -> None:
        try:
            found, lost, apart = self._traced.instance.take()
        except PageDamaged:
            found, lost, apart = [], True, set()
        number, readers = self._number, self._traced.readers
        filling = self._fillers.since_last() if self._fillers is not None else frozenset()
        if len(self._faulting) > _WRITERS_MAX:
            self._faulting.clear()
        for time, page, at in found:
            reader = readers.get(number(page, at)[0])
            if reader is None:
                continue
            record = reader[1](page, at)
            if not (reader[2] and record[0] in filling):
                reader[0](time, record)
        self._mappings_touched({touch[1:] for touch in self._traced.touches(apart) if touch[0] not in filling})
        self._traced.tell_who_touches(self._fillers is not None and self._fillers.there)
        if lost:
            self._overran_at = self._clock.monotonic()
            self.lose()

    def of(self, dev: int, ino: int, fd: int, size: int) -> Ranges | None:
        self.protect(dev, fd)
        if self._traced.devices[dev] is None:
            return None
        self._asked(dev, ino)
        known = ino in self._known[dev]
        file = self._files.get((dev, ino))
        if (dev, ino) in self._touched:
            file = self._files.setdefault((dev, ino), TracedFile())
            file.scan = True
        if file is None:
            if known or size <= SMALL_BYTES:
                return [] if known else None
            file = self._files[dev, ino] = TracedFile()
        spans = file.take(fd, size, self._clock.monotonic())
        return clipped(spans, size) if known else None

    def knows(self, dev: int, ino: int, size: int) -> int | None:
        if ino not in self._known.get(dev, ()):
            return None
        file = self._files.get((dev, ino))
        return sum(length for _, length in clipped(file.spans(), size)) if file else 0

    def reading(self, dev: int, ino: int, fd: int) -> int:
        return fd

    def looked(self, dev: int, ino: int) -> None:
        file = self._files.get((dev, ino))
        if file is None:
            return
        if not file.doubtful:
            file.taken = []
            self._known[dev].add(ino)
        if file.idle:
            del self._files[dev, ino]

    def settled(self, dev: int, ino: int, size: int) -> None:
        known = self._known.get(dev)
        if known is not None and size > SMALL_BYTES:
            self._asked(dev, ino)
            known.add(ino)

    def dirty(self) -> set[Key]:
        now = self._clock.monotonic()
        return {key for key, file in self._files.items() if file.due(now)}

    def scan(self, dev: int, ino: int) -> bool:
        """The file is mapped: its dirty pages are hot from the next look on. False where nothing is traced."""
        if self._traced.devices.get(dev) is None:
            return False
        self._files.setdefault((dev, ino), TracedFile()).scan = True
        return True

    def mapped(self, files: Set[Key]) -> set[Key]:
        traced = {key for key in files if self._traced.devices.get(key[0]) is not None}
        for key in traced:
            self._files.setdefault(key, TracedFile())
        for key, file in list(self._files.items()):
            file.pass_over(key in traced)
            if file.idle:
                del self._files[key]
        self._touched = {key: left - 1 for key, left in self._touched.items() if left > 1}
        return set(files) - traced

    def forget(self, dev: int, ino: int) -> None:
        self._files.pop((dev, ino), None)
        self._known.get(dev, set()).discard(ino)

    def lose(self) -> None:
        for known in self._known.values():
            known.clear()
        for file in self._files.values():
            file.doubtful = True
            file.scan |= file.mapped  # nobody else tells of stores

    def close(self) -> None:
        self._traced.instance.close()
        if self._fillers is not None:
            self._fillers.close()

    # What the records mean. Each gets (time in ns, (pid, the kind's fields)).

    def _file(self, kernel: int, ino: int, *, silent: bool = False) -> TracedFile | None:
        """The file to note something of; `silent`: no other event may tell of it, so it is noted though unknown."""
        device = self._traced.by_kernel.get(kernel)
        if device is None:
            return None
        file = self._files.get((device.dev, ino))
        if file is None and (silent or ino in self._known[device.dev]):
            file = self._files[device.dev, ino] = TracedFile()
        return file

    def _note(self, file: TracedFile | None, start: int, end: int) -> None:
        if file is not None:
            file.note(start, end, self._clock.monotonic())

    def _written(self, time: int, record: tuple[int, int, int, int, int]) -> None:
        pid, kernel, ino, start, length = record
        self._note(self._file(kernel, ino), start, start + length)
        if len(self._writers) > _WRITERS_MAX:
            self._writers.clear()
        self._writers[pid] = (kernel, ino, start, start + length, time)

    def _begun(self, time: int, record: tuple[int, int, int, int, int]) -> None:
        _, kernel, ino, start, length = record
        file = self._file(kernel, ino)
        if file is not None:
            file.settle(start, start + length, self._clock.monotonic())

    def _direct(self, time: int, record: tuple[int, int, int, int, int]) -> None:
        _, kernel, ino, start, length = record
        file = self._file(kernel, ino, silent=True)
        if start == length == 0 and "iomap/iomap_dio_rw_begin" not in self._traced.filters:
            length = END
        if file is not None and length:
            file.fly(start, start + length, self._clock.monotonic())

    def _completed(self, time: int, record: tuple[int, int, int, int, int]) -> None:
        _, kernel, ino, end, count = record
        device = self._traced.by_kernel.get(kernel)
        file = self._files.get((device.dev, ino)) if device else None
        if file is not None and count > 0:
            file.land(end, self._clock.monotonic())

    def _remapped(self, time: int, record: tuple[int, int, int, int, int]) -> None:
        _, kernel, length, ino, start = record
        self._note(self._file(kernel, ino), start, start + length if length else END)

    def _cut(self, time: int, record: tuple[int, int, int, int]) -> None:
        _, kernel, ino, size = record
        self._note(self._file(kernel, ino), size, END)

    def _truncating(self, time: int, record: tuple[int, int, int]) -> None:
        file = self._file(*record[1:])
        if file is not None:
            file.removed_from = -1

    def _removing(self, time: int, record: tuple[int, int, int, int]) -> None:
        _, kernel, ino, first = record
        file = self._file(kernel, ino)
        if file is not None:
            file.removed_from = first

    def _truncated(self, time: int, record: tuple[int, int, int]) -> None:
        """The block before the first one removed is the one that the new end lies in: the rest of it was zeroed."""
        file = self._file(*record[1:])
        if file is not None:
            block = self._traced.by_kernel[record[1]].block_bytes
            first, file.removed_from = file.removed_from, END
            self._note(file, max(first - 1, 0) * block if first < END else 0, END)

    def _all(self, time: int, record: tuple[int, int, int]) -> None:
        self._note(self._file(*record[1:]), *WHOLE)

    def _all_begun(self, time: int, record: tuple[int, int, int]) -> None:
        file = self._file(*record[1:])
        if file is not None:
            file.settle(*WHOLE, self._clock.monotonic())

    def _faulted(self, time: int, record: tuple[int, int, int]) -> None:
        pid, kernel, ino = record
        file = self._file(kernel, ino, silent=True)
        if file is not None:
            file.scan = True
            self._faulting[pid] = (kernel, ino)

    def _mappings_touched(self, touched: set[tuple[int, ...]]) -> None:
        strangers: list[Key] = []
        for ino, kernel in touched:
            device = self._traced.by_kernel.get(kernel)
            if device is not None:
                self._touched[device.dev, ino] = TOUCHED_ROUNDS
                if ino not in self._known[device.dev] and (device.dev, ino) not in self._files:
                    strangers.append((kernel, ino))
        if strangers and self._traced.strangers.shown(strangers):
            self._traced.filter_touches()

    def _asked(self, dev: int, ino: int) -> None:
        """A file is asked about: from now on touches of it show, and it may have been touched before."""
        device = self._traced.devices.get(dev)
        if device is not None and self._traced.strangers.asked((device.kernel, ino)):
            self._touched[dev, ino] = TOUCHED_ROUNDS
            self._traced.filter_touches()

    def _dirtied(self, time: int, record: tuple[int, bytes, int, int]) -> None:
        pid, name, ino, index = record
        for device in self._traced.by_backing.get(name, ()):
            if self._by_write(device, pid, ino, index, time):
                continue
            file = self._file(device.kernel, ino, silent=True)
            if file is not None:
                pages = min(index & -index or FOLIO_PAGES_MAX, FOLIO_PAGES_MAX)
                span = (index * PAGESIZE, (index + pages) * PAGESIZE)
                file.heat(*span, self._clock.monotonic())

    def _by_write(self, device: Device, pid: int, ino: int, index: int, time: int) -> bool:
        """Whether a folio became dirty by the write that the same process is doing, not by a mapping."""
        if device.dev in self._traced.faults_shown:
            return self._faulting.pop(pid, None) != (device.kernel, ino)
        kernel, written, start, end, at = self._writers.get(pid, (0, 0, 0, 0, 0))
        if kernel != device.kernel or written != ino:
            return False
        if not start - start % (FOLIO_PAGES_MAX * PAGESIZE) <= index * PAGESIZE < end:
            return False
        del self._writers[pid]
        return device.kind == "ext4" and time - at < WRITE_SECONDS * _NANO
