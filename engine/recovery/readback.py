"""Read a restored tree back from the disk and compare it with what was kept: bytes, holes, attributes.

The tree has been synced; its pages are dropped first, so that the disk answers and not memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence

from engine.journal.data import DataReader
from engine.journal.open import Journal
from engine.model.errors import BcsError
from engine.model.events import DIRECTORY, FILE
from engine.model.extents import Piece
from engine.plan.restore import Made, RestorePlan
from engine.recovery.fill import holds
from engine.recovery.restore import Progress, Restored
from engine.tree.attributes import CannotRead, from_inode, read_attributes
from engine.tree.paths import shown
from engine.tree.readback import between, differing, first_not_zero, is_one
from engine.tree.settle import drop_pages


def read_back(
    journal: Journal,
    stream: str,
    plan: RestorePlan,
    pieces: Mapping[int, Sequence[Piece]],
    done: Restored,
    owners: bool,
    progress: Progress | None = None,
) -> list[tuple[bytes, str]]:
    """(path, what differs) of everything in the plan that did not fail before and is not as it was kept. `progress` is
    told of each file, and of its bytes without holes."""
    reader = DataReader(journal)
    failed = {path for path, _ in done.failures}
    # What could not be set was reported when it was not; it is no news here.
    excused = {text.split(": ", 1)[0] for text in done.shortfalls}
    found: list[tuple[bytes, str]] = []
    for made in (*plan.directories, *plan.files, *plan.others):
        if made.target in failed or (made.target == plan.target and made.inode.type == DIRECTORY):
            continue
        differences = _differences(made, shown(made.target) in excused, owners, pieces, reader, stream)
        found += [(made.target, what) for what in differences]
        if progress is not None and made.inode.type == FILE:
            progress(1, sum(piece.length for piece in pieces.get(made.inode.file_id, ())))
        found += [(name, "further name") for name in made.links if name not in failed and not is_one(made.target, name)]
    return found


def _differences(
    made: Made,
    excused: bool,
    owners: bool,
    pieces: Mapping[int, Sequence[Piece]],
    reader: DataReader,
    stream: str,
) -> Iterator[str]:
    wanted = from_inode(made.inode)
    try:
        there = read_attributes(made.target)
    except CannotRead as error:
        yield os.strerror(error.errno)
        return
    yield from differing(there, wanted, excused=excused, owners=owners)
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
            if not holds(fd, piece, reader, stream):
                yield f"content at byte {piece.offset}"
                return
        covered = [(piece.offset, piece.length) for piece in pieces]
        for start, end in between(covered, 0, made.inode.size):
            at = first_not_zero(fd, start, end)
            if at is not None:
                yield f"content at byte {at}"
                return
    finally:
        os.close(fd)
