"""Which files of a plan are on the disk already, byte for byte: read and compared with their hashes, not believed."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from engine.journal.data import DataReader
from engine.model.errors import BcsError
from engine.model.extents import Piece
from engine.plan.restore import Made
from engine.recovery.fill import holds
from engine.tree.readback import between, first_not_zero


def whole(
    files: Collection[Made],
    pieces: Mapping[int, Sequence[Piece]],
    reader: DataReader,
    stream: str,
    threads: int,
    progress: Callable[[int, int], None],
) -> set[bytes]:
    """The targets of those files that hold what they are to hold. `progress` gets files and bytes, without holes, of
    each."""
    found: set[bytes] = set()
    with ThreadPoolExecutor(threads) as pool:
        for made, same in zip(files, pool.map(partial(_is_whole, pieces, reader, stream), files), strict=True):
            if same:
                found.add(made.target)
                progress(1, sum(piece.length for piece in pieces.get(made.inode.file_id, ())))
    return found


def _is_whole(pieces: Mapping[int, Sequence[Piece]], reader: DataReader, stream: str, made: Made) -> bool:
    own = pieces.get(made.inode.file_id, ())
    try:
        fd = os.open(made.target, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        if os.fstat(fd).st_size != made.inode.size or not all(holds(fd, piece, reader, stream) for piece in own):
            return False
        holes = between(((piece.offset, piece.length) for piece in own), 0, made.inode.size)
        return all(first_not_zero(fd, start, end) is None for start, end in holes)
    except (OSError, BcsError):
        return False  # it is made again, and that says what is wrong
    finally:
        os.close(fd)
