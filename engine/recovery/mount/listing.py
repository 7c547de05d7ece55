"""A directory as FUSE wants it: every entry encoded once, every answer a slice."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field

from engine.fuse import protocol as fuse

FOR_EVER = 365 * 86400
"""How long, in seconds, the kernel may believe what never changes."""


@dataclass(slots=True)
class Listing:
    """The entries in order. `plain` and `plus` are the dirents without and with what stat(2) shows; `ends` say where
    each ends. `.` and `..` come first."""

    plain: bytes
    plus: bytes
    plain_ends: array[int]
    plus_ends: array[int]
    index: dict[bytes, int] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """About how many bytes it takes in memory."""
        return len(self.plain) + len(self.plus) + 120 * len(self.index)

    def part(self, offset: int, size: int, plus: bool) -> bytes:
        """At most `size` bytes of whole dirents, from the entry numbered `offset` on."""
        data, ends = (self.plus, self.plus_ends) if plus else (self.plain, self.plain_ends)
        if offset >= len(ends):
            return b""
        start = ends[offset - 1] if offset else 0
        count = bisect_right(ends, start + size)
        return data[start : ends[count - 1]] if count > offset else b""

    def entry(self, name: bytes) -> bytes | None:
        """The entry of a name, as LOOKUP answers it."""
        at = self.index.get(name)
        if at is None:
            return None
        start = self.plus_ends[at - 1]
        return self.plus[start : start + fuse.ENTRY_BYTES]


def listing(node: int, parent: int, entries: Iterable[tuple[bytes, fuse.Attributes]], seconds: int) -> Listing:
    """The listing of directory `node` below `parent`. `seconds`: how long the kernel may believe an entry; 0: not at
    all, it is told names and types alone."""
    none = bytes(fuse.ENTRY_BYTES)  # a node 0 in a listing says nothing of the name; `.` and `..` have no other
    plain, plus = bytearray(), bytearray()
    made = Listing(b"", b"", array("L"), array("L"))
    for number, (name, at) in enumerate(((b".", node), (b"..", parent))):
        _add(made, plain, plus, none, fuse.dirent(at, number + 1, name, 0o40000))
    for number, (name, attributes) in enumerate(entries, 2):
        entry = fuse.entry(attributes.node, attributes.packed(), seconds, seconds) if seconds else none
        _add(made, plain, plus, entry, fuse.dirent(attributes.node, number + 1, name, attributes.mode))
        made.index[name] = number
    made.plain, made.plus = bytes(plain), bytes(plus)
    return made


def _add(made: Listing, plain: bytearray, plus: bytearray, entry: bytes, dirent: bytes) -> None:
    plain += dirent
    plus += entry
    plus += dirent
    made.plain_ends.append(len(plain))
    made.plus_ends.append(len(plus))
