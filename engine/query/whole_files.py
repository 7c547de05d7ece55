"""Whole files by their content: the hash of one, and whether an open file on this machine has the same bytes.

The journal's own hashes are keyed and of extents, so what SHA-256 or BLAKE3 a file has is only known once it is read.
An open file is compared by the extents' hashes, without reading the journal's data, wherever an extent shows whole.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from engine.format.hashes import extent_hash
from engine.journal.data import DataReader
from engine.journal.open import Journal
from engine.model.events import FILE, Inode
from engine.model.extents import Piece
from engine.model.ids import Position
from engine.plan.restore_batches import where
from engine.query.content import parts
from engine.query.extents import pieces
from engine.query.session import Session
from engine.tree.readback import between, first_not_zero


class Hasher(Protocol):
    """As hashlib's objects are, and blake3's."""

    def update(self, data: Any, /) -> Any: ...

    def hexdigest(self) -> str: ...


def hashes(
    session: Session,
    journal: Journal,
    stream: str,
    position: Position,
    inodes: Iterable[Inode],
    algorithm: Callable[[], Hasher] = hashlib.sha256,
) -> dict[int, str]:
    """{file_id: the hash of the whole file, hexadecimal} of these inodes at a position. Raises Damaged."""
    sizes = {inode.file_id: inode.size for inode in inodes if inode.type == FILE}
    found = pieces(session, stream, position, list(sizes))
    reader = DataReader(journal)
    done: dict[int, str] = {}
    for file_id in sorted(sizes, key=lambda each: where(found[each])):  # neighbours share frames
        done[file_id] = hash_of(reader, stream, found[file_id], sizes[file_id], algorithm)
    return done


def hash_of(
    reader: DataReader,
    stream: str,
    kept: Sequence[Piece],
    size: int,
    algorithm: Callable[[], Hasher] = hashlib.sha256,
) -> str:
    """The hash of a file of `size` bytes from its pieces, hexadecimal. Raises Damaged."""
    digest = algorithm()
    for part in parts(reader, stream, kept, size):
        digest.update(part)
    return digest.hexdigest()


def has_bytes(fd: int, size: int, kept: Sequence[Piece], reader: DataReader, stream: str, key: bytes) -> bool:
    """Whether an open file holds these pieces, zeros between them, and ends at `size`. `key` is the group's.

    Raises OSError when the file can't be read, Damaged when the journal's data can't.
    """
    if os.fstat(fd).st_size != size:
        return False
    for piece in kept:
        part = os.pread(fd, piece.length, piece.offset)
        if len(part) != piece.length:
            return False
        if piece.skip == 0 and piece.length == piece.extent_length:
            if extent_hash(part, key) != piece.hash:
                return False
        elif part != reader.read(piece, stream):
            return False
    covered = [(piece.offset, piece.length) for piece in kept]
    return all(first_not_zero(fd, start, end) is None for start, end in between(covered, 0, size))
