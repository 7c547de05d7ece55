"""Read a restored tree back from the disk and compare it with what was kept: bytes, holes, attributes.

The tree has been synced; its pages are dropped first, so that the disk answers and not memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence

from engine.journal.data import DataReader
from engine.journal.open import Journal
from engine.model.errors import BcsError
from engine.model.events import DIRECTORY, FILE, SYMLINK
from engine.model.extents import Piece
from engine.plan.restore import Made, RestorePlan
from engine.recovery.restore import Restored
from engine.tree.attributes import CannotRead, from_inode, read_attributes
from engine.tree.paths import shown
from engine.tree.settle import drop_pages
from engine.tree.sparse import data_ranges

_STEP_BYTES = 1 << 20


def read_back(
    journal: Journal,
    stream: str,
    plan: RestorePlan,
    pieces: Mapping[int, Sequence[Piece]],
    done: Restored,
    owners: bool,
) -> list[tuple[bytes, str]]:
    """(path, what differs) of everything in the plan that did not fail before and is not as it was kept."""
    reader = DataReader(journal)
    failed = {path for path, _ in done.failures}
    # What could not be set was reported when it was not; it is no news here.
    excused = {text.split(": ", 1)[0] for text in done.shortfalls}
    found: list[tuple[bytes, str]] = []
    for made in (*plan.directories, *plan.files, *plan.others):
        if made.target in failed or (made.target == plan.target and made.inode.type == DIRECTORY):
            continue
        attributes = [] if shown(made.target) in excused else _attribute_names(made.inode.type, owners)
        found += [(made.target, what) for what in _differences(made, attributes, pieces, reader, stream)]
        found += [
            (name, "further name") for name in made.links if name not in failed and not _is_one(made.target, name)
        ]
    return found


def _is_one(target: bytes, name: bytes) -> bool:
    """Whether two names lead to one inode."""
    try:
        return os.path.samestat(os.lstat(target), os.lstat(name))
    except OSError:
        return False


def _attribute_names(kind: str, owners: bool) -> list[str]:
    names = ["rdev", "mtime_ns", "xattrs"]
    names += ["mode"] if kind != SYMLINK else []
    return names + (["uid", "gid"] if owners else [])


def _differences(
    made: Made, attributes: Sequence[str], pieces: Mapping[int, Sequence[Piece]], reader: DataReader, stream: str
) -> Iterator[str]:
    wanted = from_inode(made.inode)
    try:
        there = read_attributes(made.target)
    except CannotRead as error:
        yield os.strerror(error.errno)
        return
    for name in ("type", "size", "target", *attributes):
        # A directory's size is the file system's own affair, and a link's is its target's.
        if getattr(there, name) != getattr(wanted, name) and (name != "size" or made.inode.type == FILE):
            yield name
    if made.inode.type == FILE and there.size == wanted.size:
        try:
            yield from _content_differs(made, pieces.get(made.inode.file_id, ()), reader, stream)
        except (OSError, BcsError) as error:
            yield error.message if isinstance(error, BcsError) else os.strerror(error.errno or 0)


def _content_differs(made: Made, pieces: Sequence[Piece], reader: DataReader, stream: str) -> Iterator[str]:
    fd = os.open(made.target, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        drop_pages(fd)
        for piece in pieces:
            if os.pread(fd, piece.length, piece.offset) != reader.read(piece, stream):
                yield f"content at byte {piece.offset}"
                return
        ranges = data_ranges(fd, made.inode.size)
        for start, end in _between(pieces, made.inode.size):
            for first, length in ranges:
                at, stop = max(start, first), min(end, first + length)
                while at < stop:
                    part = os.pread(fd, min(_STEP_BYTES, stop - at), at)
                    if any(part) or not part:
                        yield f"content at byte {at}"
                        return
                    at += len(part)
    finally:
        os.close(fd)


def _between(pieces: Sequence[Piece], size: int) -> Iterator[tuple[int, int]]:
    """The holes: [start, end) that no piece covers."""
    at = 0
    for piece in pieces:
        if piece.offset > at:
            yield at, piece.offset
        at = piece.offset + piece.length
    if at < size:
        yield at, size
