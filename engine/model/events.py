"""The five kinds of events that a stream is made of (docs/format.md, "Events").

`lsn` counts a stream's events without gaps; `at` is site time in microseconds and bounds
the change from above. Names, link targets and attributes are bytes, as the kernel has them.
A `file_id` is the LSN of the event that first introduced the inode: unique along the
lineage, never used again, whatever the file system does with its inode numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

ROOT_ID = 0
"""The file_id of `/` of the protected host; every source's tree hangs below it."""

DENTRY, INODE, EXTENT, MARK, RECORD = 1, 2, 3, 4, 5

FILE, DIRECTORY, SYMLINK, FIFO, SOCKET, CHARACTER, BLOCK = "f", "d", "l", "p", "s", "c", "b"


@dataclass(frozen=True, slots=True)
class Dentry:
    """`name` in directory `parent` leads to `file_id`; None says that it was unlinked."""

    lsn: int
    at: int
    parent: int
    name: bytes
    file_id: int | None


@dataclass(frozen=True, slots=True)
class Inode:
    """All attributes of one inode; replaces what was known of it before.

    `type` is one of f d l p s c b; `mode` the twelve permission bits; `size` the logical
    length in bytes; `rdev` the device number of c and b; `target` of l; `xattrs` as
    `engine.model.xattrs` encodes them (ACLs and capabilities are among them).
    """

    lsn: int
    at: int
    file_id: int
    type: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    rdev: int = 0
    target: bytes = b""
    xattrs: bytes = b""


@dataclass(frozen=True, slots=True)
class DataRef:
    """Where an extent's bytes are: frame at byte `frame` of object `pack`, `frame_bytes` long
    as stored, opened to raw bytes, of which the extent begins at `skip`."""

    pack: str
    frame: int
    frame_bytes: int
    skip: int


@dataclass(frozen=True, slots=True)
class Extent:
    """Bytes [offset, offset+length) of a file; no `data` means a hole. A later one wins.

    A file that shrinks gets a hole over what was cut off, so that older bytes can't come
    back when it grows again. `hash` is BLAKE3, 128 bits, keyed by the group; empty for a hole.
    """

    lsn: int
    at: int
    file_id: int
    offset: int
    length: int
    data: DataRef | None
    hash: bytes = b""


PASS, BASELINE, BOOKMARK, COMMIT, FORK, DRILL, GAP = "pass", "baseline", "bookmark", "commit", "fork", "drill", "gap"


@dataclass(frozen=True, slots=True)
class Mark:
    """A named place in a stream. `pass` and `baseline` marks end recovery points.

    `label` is a bookmark's name or a gap's reason. `point_class` is application, crash, quiet
    or fuzzy on marks that are recovery points, else empty. A `gap` mark says that changes
    between `gap_from` and its own `at` may have been missed; it is written by the catch-up
    that closed the gap.
    """

    lsn: int
    at: int
    kind: str
    label: str = ""
    point_class: str = ""
    gap_from: int = 0


@dataclass(frozen=True, slots=True)
class Record:
    """A fact about the stream, as JSON text; `topic` says which kind (`unreadable`, ...)."""

    lsn: int
    at: int
    topic: str
    payload: str


Event = Dentry | Inode | Extent | Mark | Record


def is_point(event: Event) -> bool:
    """Whether a recovery point ends at this event: a pass mark, the baseline's among them."""
    return isinstance(event, Mark) and event.kind in (PASS, BASELINE)
