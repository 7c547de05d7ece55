"""What the record's rows are to those who read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

UNKNOWN_ID = -1
"""A name that the node may know, nobody knows as what."""

UNKNOWN_SIZE = -1

Entry = tuple[bytes, int, int | None, int | None, int | None, int | None, int | None, int | None]
"""(name, file_id, ctime_ns, mtime_ns, size, mode, ino, dev); all None but the first two after an UNKNOWN_ID. A bare
tuple: a walk makes one for each entry of the tree."""


class Known(NamedTuple):
    """What the record says of an inode. The fields are those of stat(2); `mode` holds the type too."""

    file_id: int
    dev: int
    ino: int
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    ctime_ns: int
    rdev: int
    target: bytes
    xattrs: bytes


class Place(NamedTuple):
    """Where a batch is in the spool; segment -1: nowhere."""

    segment: int
    offset: int
    length: int


NOWHERE = Place(-1, 0, 0)


@dataclass(frozen=True, slots=True)
class Sent:
    """A batch that was made and may not be acknowledged. `at` and `through_at` hold once it is."""

    lsn_first: int
    lsn_last: int
    hash: bytes
    at: int
    through_at: int
    place: Place
