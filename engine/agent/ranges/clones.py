"""Ranges of writes to big files from clones that share their extents, on xfs and btrfs, where no trace tells them.

A clone (FICLONE, ioctl_ficlonerange(2)) is an instant copy of a file: the look reads from it, so that no write tears
what it reads, and it stays open as the base of the next look. What was written since lies elsewhere on disk then, which
the extents of both tell (FIEMAP, Documentation/filesystems/fiemap.rst). Bases are files without a name (O_TMPFILE):
nothing shows, and they go with this process.

Equal is only what lies at the same place, written in both or in neither; extents whose place is not final, or not the
whole truth (delayed, unknown, inline, encoded) never are. A growth is compared besides, as everywhere.

What it costs: blocks that are overwritten move, so a file that is written at random lies in ever more pieces, and the
old blocks stay taken until the next look. So there are few bases, none for a file in very many pieces, and none on a
file system that gets full.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Set
from dataclasses import dataclass

from engine.agent.ranges.base import Ranges, Writes, clipped, merged
from engine.env.clock import SYSTEM, Clock
from engine.tree.extents import DELAYED, ENCODED, INLINE, UNKNOWN, UNWRITTEN, Extent, extents

BIG_BYTES = 64 << 20
CLONES_MAX = 64
EXTENTS_MAX = 20_000
FREE_SHARE = 0.05
LOOK_AT_FREE_SECONDS = 5.0
AGAIN_SECONDS = 1.0
"""A clone writes back what is dirty in the file, so not more often than this."""

_FICLONE = 0x40049409
_NEVER_EQUAL = UNKNOWN | DELAYED | ENCODED | INLINE
_IMPOSSIBLE = (errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.ENOSYS)

Key = tuple[int, int]


@dataclass(slots=True)
class _File:
    """Open descriptors, -1 for none: the clone that the last look read, and that of the look that goes on."""

    base: int = -1
    fresh: int = -1
    looked_at: float = 0.0


class Clones:
    """Knows of big files what another source of ranges doesn't; all else is asked there."""

    def __init__(
        self,
        other: Writes,
        clock: Clock = SYSTEM,
        big_bytes: int | None = None,
        may: Callable[[], bool] = lambda: True,
    ) -> None:
        """None are made while `may` says no."""
        self._other, self._clock, self._may = other, clock, may
        self._big_bytes = BIG_BYTES if big_bytes is None else big_bytes
        self._files: dict[Key, _File] = {}
        self._impossible: set[int] = set()
        self._free_at = 0.0
        self._made_any = False

    @property
    def mechanism(self) -> str:
        other = self._other.mechanism
        return "clone" if other == "none" and self._made_any else other

    @property
    def costs(self) -> str:
        return self._other.costs

    def of(self, dev: int, ino: int, fd: int, size: int) -> Ranges | None:
        ranges = self._other.of(dev, ino, fd, size)
        if ranges is not None or size < self._big_bytes or dev in self._impossible or not self._may():
            self._drop((dev, ino))
            return ranges
        return self._since_last(dev, ino, fd, size)

    def _since_last(self, dev: int, ino: int, fd: int, size: int) -> Ranges | None:
        try:
            if _free_share(fd) < FREE_SHARE:
                self._drop_all()
                return None
            clone = cloned(fd)
            self._made_any = True
        except OSError as error:
            if error.errno in _IMPOSSIBLE:
                self._impossible.add(dev)
            self._drop((dev, ino))
            return None
        file = self._files.setdefault((dev, ino), _File())
        file.fresh = _replaced(file.fresh, clone)
        if file.base < 0:
            self._make_room()
            return None
        try:
            before, after = extents(file.base, EXTENTS_MAX), extents(clone, EXTENTS_MAX)
        except OSError:
            before = after = None
        if before is None or after is None:
            self._drop((dev, ino))
            return None
        # Nothing is an answer too, not a trace that is still to come: the first byte is compared, and that was it.
        return clipped(merged(differing(before, after)), size) or [(0, 1)]

    def reading(self, dev: int, ino: int, fd: int) -> int:
        file = self._files.get((dev, ino))
        return fd if file is None or file.fresh < 0 else file.fresh

    def looked(self, dev: int, ino: int) -> None:
        self._other.looked(dev, ino)
        file = self._files.get((dev, ino))
        if file is not None and file.fresh >= 0:
            file.base, file.fresh = _replaced(file.base, file.fresh), -1
            file.looked_at = self._clock.monotonic()

    def knows(self, dev: int, ino: int, size: int) -> int | None:
        known = self._other.knows(dev, ino, size)
        file = self._files.get((dev, ino))
        if known is not None or file is None or file.base < 0:
            return known
        return 0 if self._clock.monotonic() - file.looked_at >= AGAIN_SECONDS else None

    def take(self) -> None:
        self._other.take()
        now = self._clock.monotonic()
        if self._files and now - self._free_at >= LOOK_AT_FREE_SECONDS:
            self._free_at = now
            if any(_free_share(each.base) < FREE_SHARE for each in self._files.values() if each.base >= 0):
                self._drop_all()

    def protect(self, dev: int, fd: int) -> None:
        self._other.protect(dev, fd)

    def settled(self, dev: int, ino: int, size: int) -> None:
        self._other.settled(dev, ino, size)

    def dirty(self) -> set[Key]:
        return self._other.dirty()

    def mapped(self, files: Set[Key]) -> set[Key]:
        return self._other.mapped(files)

    def scan(self, dev: int, ino: int) -> bool:
        return self._other.scan(dev, ino)

    def forget(self, dev: int, ino: int) -> None:
        self._other.forget(dev, ino)
        self._drop((dev, ino))

    def lose(self) -> None:
        self._other.lose()  # clones need no records

    def close(self) -> None:
        self._drop_all()
        self._other.close()

    def _drop(self, key: Key) -> None:
        file = self._files.pop(key, None)
        if file is not None:
            _replaced(file.base, -1)
            _replaced(file.fresh, -1)

    def _drop_all(self) -> None:
        for key in list(self._files):
            self._drop(key)

    def _make_room(self) -> None:
        """The file that was looked at least lately gives way, one that is being looked at never."""
        idle = [key for key, file in self._files.items() if file.fresh < 0]
        if len(self._files) > CLONES_MAX and idle:
            self._drop(min(idle, key=lambda key: self._files[key].looked_at))


def cloned(fd: int) -> int:
    """A nameless clone of an open file, beside it. OSError where the file system has none, or no place for it."""
    directory = os.path.dirname(os.readlink(f"/proc/self/fd/{fd}"))
    clone = os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.ioctl(clone, _FICLONE, fd)
    except OSError:
        os.close(clone)
        raise
    return clone


def differing(before: list[Extent], after: list[Extent]) -> list[tuple[int, int]]:
    """(start, end) of what does not lie at the same place in both, or may not."""
    spans: list[tuple[int, int]] = []
    i = j = at = 0
    end = max([each[0] + each[2] for each in (*before[-1:], *after[-1:])], default=0)
    while at < end:
        while i < len(before) and before[i][0] + before[i][2] <= at:
            i += 1
        while j < len(after) and after[j][0] + after[j][2] <= at:
            j += 1
        one, one_ends = _piece(before, i, at, end)
        two, two_ends = _piece(after, j, at, end)
        stop = min(one_ends, two_ends)
        if one != two or one == _DIFFERS:
            spans.append((at, stop))
        at = stop
    return spans


_DIFFERS = (-1, False)


def _piece(extents: list[Extent], index: int, at: int, end: int) -> tuple[tuple[int, bool] | None, int]:
    """What lies at `at` (None for a hole), and where that ends."""
    if index >= len(extents):
        return None, end
    logical, physical, length, flags = extents[index]
    if logical > at:
        return None, logical
    if flags & _NEVER_EQUAL:
        return _DIFFERS, logical + length
    return (physical - logical, bool(flags & UNWRITTEN)), logical + length


def _replaced(old: int, new: int) -> int:
    if old >= 0:
        os.close(old)
    return new


def _free_share(fd: int) -> float:
    status = os.fstatvfs(fd)
    return status.f_bavail / status.f_blocks if status.f_blocks else 1.0
