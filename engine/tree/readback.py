"""What reading a restored tree back looks at, near and far: attributes, further names, holes that read as zeros."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from engine.model.events import FILE, SYMLINK
from engine.tree.attributes import Attributes
from engine.tree.sparse import data_ranges

_STEP_BYTES = 1 << 20


def differing(there: Attributes, wanted: Attributes, *, excused: bool, owners: bool) -> list[str]:
    """Which attributes differ. `excused`: some could not be set, which was said; only what a file is counts then.

    A directory's size is the file system's own affair, and a link's is its target's.
    """
    names = ["type", *(["size"] if wanted.type == FILE else []), "target"]
    if not excused:
        names += ["rdev", "mtime_ns", "xattrs"]
        names += ["mode"] if wanted.type != SYMLINK else []
        names += ["uid", "gid"] if owners else []
    return [name for name in names if getattr(there, name) != getattr(wanted, name)]


def is_one(target: bytes, name: bytes) -> bool:
    """Whether two names lead to one inode."""
    try:
        return os.path.samestat(os.lstat(target), os.lstat(name))
    except OSError:
        return False


def between(covered: Iterable[tuple[int, int]], start: int, end: int | None) -> Iterator[tuple[int, int]]:
    """(start, end) of each gap that the ranges (offset, length), ascending, leave from `start` on.

    What follows the last range is one up to `end`, None where that is not known yet.
    """
    at = start
    for offset, length in covered:
        if offset > at:
            yield at, offset
        at = max(at, offset + length)
    if end is not None and at < end:
        yield at, end


def first_not_zero(fd: int, start: int, end: int) -> int | None:
    """About where the bytes [start, end) of an open file are not zeros, or not there; None if they all are zeros.

    Real holes cost nothing, however many there are. Raises OSError.
    """
    for at, length in data_ranges(fd, end, start):
        stop = at + length
        while at < stop:
            part = os.pread(fd, min(_STEP_BYTES, stop - at), at)
            if any(part) or not part:
                return at
            at += len(part)
    return None
