"""A directory as FUSE wants it: every entry encoded once, every answer a slice."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from engine.fuse import protocol as fuse
from engine.recovery.mount.rows import Row

FOR_EVER = 365 * 86400
"""How long, in seconds, the kernel may believe what never changes."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The entries in order. `plain` and `plus` are the dirents without and with what stat(2) shows; `ends` say where
    each ends. `.` and `..` come first."""

    plain: bytes
    plus: bytes
    plain_ends: array[int]
    plus_ends: array[int]

    @property
    def size(self) -> int:
        """About how many bytes it takes in memory."""
        return len(self.plain) + len(self.plus) + 16 * len(self.plus_ends)

    def part(self, offset: int, size: int, plus: bool) -> bytes:
        """At most `size` bytes of whole dirents, from the entry numbered `offset` on."""
        data, ends = (self.plus, self.plus_ends) if plus else (self.plain, self.plain_ends)
        if offset >= len(ends):
            return b""
        start = ends[offset - 1] if offset else 0
        count = bisect_right(ends, start + size)
        return data[start : ends[count - 1]] if count > offset else b""


def listing(node: int, parent: int, entries: Iterable[tuple[Row, int]], seconds: int) -> Listing:
    """The listing of directory `node` below `parent`, of (row, its node). `seconds`: how long the kernel may believe
    an entry; 0: not at all, it is told names and types alone."""
    none = bytes(fuse.ENTRY_BYTES)  # a node 0 in a listing says nothing of the name; `.` and `..` have no other
    plus = [none + fuse.dirent(at, number, name, 0o40000) for number, name, at in ((1, b".", node), (2, b"..", parent))]
    for number, (row, at) in enumerate(entries, 3):
        one = line(row, at, number, seconds)
        plus.append(one if seconds else none + one[fuse.ENTRY_BYTES :])
    plain = [one[fuse.ENTRY_BYTES :] for one in plus]
    return Listing(b"".join(plain), b"".join(plus), _ends(plain), _ends(plus))


def line(row: Row, node: int, offset: int, seconds: int) -> bytes:
    """A line of READDIRPLUS, which begins with what LOOKUP answers; the next line is number `offset`."""
    return fuse.listed(
        node=node, offset=offset, name=row.name, mode=row.mode, size=row.size, mtime_ns=row.mtime_ns,
        uid=row.uid, gid=row.gid, links=row.links, rdev=row.rdev, stored=row.stored, seconds=seconds,
    )  # fmt: skip


def _ends(parts: Iterable[bytes]) -> array[int]:
    ends, at = array("L"), 0
    for part in parts:
        at += len(part)
        ends.append(at)
    return ends
