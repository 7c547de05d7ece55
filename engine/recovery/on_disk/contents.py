"""Whether a file on the disk has the bytes that it had: by the hashes that the journal keeps of its extents.

Nothing of the journal's data is read where an extent shows whole. Where only a part of one shows, its bytes are.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from engine.journal.data import DataReader
from engine.journal.open import Journal
from engine.model.events import Inode
from engine.model.ids import Position
from engine.query.extents import pieces
from engine.query.session import Session
from engine.query.streams import StreamInfo
from engine.query.whole_files import has_bytes
from engine.recovery.on_disk.differing import Same

_BLOCK_BYTES = 1 << 20


def same_as_kept(
    session: Session, journal: Journal, stream: StreamInfo, position: Position, file_ids: Sequence[int] | None
) -> Same:
    """Compare with a point of the journal on this machine. `file_ids` are those that may be asked for, None for all."""
    kept = pieces(session, stream.id, position, file_ids)
    reader = DataReader(journal)
    key = journal.keyring.group_key(stream.group)

    def same(path: bytes, inode: Inode, disk: bytes) -> bool:
        with reading(disk) as fd:
            return has_bytes(fd, inode.size, kept.get(inode.file_id, ()), reader, stream.id, key)

    return same


def same_as_hashed(sha256: Mapping[bytes, str]) -> Same:
    """Compare with the SHA-256 of whole files, by path, that a node has told."""

    def same(path: bytes, inode: Inode, disk: bytes) -> bool:
        with reading(disk) as fd:
            return sha256.get(path) == sha256_of(fd)

    return same


def sha256_of(fd: int) -> str:
    """The SHA-256 of an open file, hexadecimal."""
    digest, at = hashlib.sha256(), 0
    while block := os.pread(fd, _BLOCK_BYTES, at):
        digest.update(block)
        at += len(block)
    return digest.hexdigest()


@contextmanager
def reading(path: bytes) -> Iterator[int]:
    """A file of the disk, no link followed."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)
