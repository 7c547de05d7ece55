"""The tree of a recovery on demand: names, sizes, all attributes, links, and room for the data, without any of it.

Ranges of data are allocated and not written (fallocate(2)): who asks for data (SEEK_DATA, cp) is told that there is
some, the room can't be taken by others, and the file system itself keeps, through a power cut, which were filled.
Ranges that are holes stay holes.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from engine.fill.base import BLOCK_BYTES, ColdFile
from engine.fill.tree.handles import handle_of
from engine.model.errors import Refused
from engine.tree.apply import CannotMake, Shortfall, create_file, deepest_first, finish, link, make
from engine.tree.attributes import Attributes

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
_KEEP_SIZE = 1


@dataclass(frozen=True, slots=True)
class Node:
    """One inode of the tree: `path` below its root (empty for the root itself), `links` are its further names.

    `data` are a file's ranges with data, (offset, length), ascending; None says that all of it may be.
    """

    path: bytes
    file_id: int
    attributes: Attributes
    links: tuple[bytes, ...] = ()
    data: tuple[tuple[int, int], ...] | None = None


@dataclass(slots=True)
class Skeleton:
    """What was made: the cold files, the blocks of each that are holes, directories yet to be finished, shortfalls."""

    files: list[ColdFile] = field(default_factory=list)
    holes: list[tuple[int, int, int]] = field(default_factory=list)
    """(number, first, end) in blocks of the file."""
    directories: dict[bytes, Attributes] = field(default_factory=dict)
    shortfalls: list[Shortfall] = field(default_factory=list)
    blocks: int = 0

    @property
    def bytes(self) -> int:
        return sum(file.size for file in self.files)


def build(
    root: bytes, directories: Sequence[Node], files: Iterable[Node], others: Iterable[Node], owners: bool = True
) -> Skeleton:
    """Make the tree below `root`, an existing directory that nobody else reaches. Directories, parents first, have
    their attributes afterwards from `finish_directories`: names below them change their times.

    Raises CannotMake, and Refused when there is no room.
    """
    made = Skeleton()
    for node in directories:
        if node.path:
            _way_to(root, node.path, made)
            _checked(made, make(_at(root, node.path), node.attributes))
        made.directories[node.path] = node.attributes
    for node in files:
        _make_file(root, node, made, owners)
    for node in others:
        path = _at(root, node.path)
        _way_to(root, node.path, made)
        missing = make(path, node.attributes)
        if missing is None:
            made.shortfalls += finish(path, node.attributes, owners)
            _make_links(root, node, made)
        else:
            made.shortfalls.append(missing)
    return made


def finish_directories(root: bytes, directories: dict[bytes, Attributes], owners: bool = True) -> list[Shortfall]:
    """All attributes of directories, children first; the root's too if it is among them."""
    missing = []
    for path in deepest_first(directories):
        missing += finish(_at(root, path) if path else root, directories[path], owners)
    return missing


def allocate(fd: int, offset: int, length: int) -> None:
    """Room for [offset, offset+length), unwritten; the size stays. Raises OSError."""
    if _libc.fallocate(fd, _KEEP_SIZE, offset, length):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _make_file(root: bytes, node: Node, made: Skeleton, owners: bool) -> None:
    path, attributes = _at(root, node.path), node.attributes
    size = attributes.size
    _way_to(root, node.path, made)
    fd = create_file(path)
    try:
        data = ((0, size),) if node.data is None else node.data
        if size:
            _room(fd, path, size, data)
        made.shortfalls += finish(path, attributes, owners, fd)
        if size and data:
            _note(fd, node, data, made)
    finally:
        os.close(fd)
    _make_links(root, node, made)


def _room(fd: int, path: bytes, size: int, data: Sequence[tuple[int, int]]) -> None:
    try:
        os.ftruncate(fd, size)
        for offset, length in data:
            allocate(fd, offset, length)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Refused(
                f"there is no room for {os.fsdecode(path)}: {os.strerror(error.errno)}",
                hint="a recovery on demand takes the room of the whole tree at once: choose a larger disk",
            ) from None
        if error.errno in (errno.EOPNOTSUPP, errno.ENOSYS):
            raise Refused(
                f"the file system of {os.fsdecode(path)} can't set room aside (fallocate)",
                hint="restore on demand to ext4, xfs or btrfs, or restore without --on-demand",
            ) from None
        raise CannotMake(path, error.errno or errno.EIO) from error


def _note(fd: int, node: Node, data: Sequence[tuple[int, int]], made: Skeleton) -> None:
    """A row of the table, and which blocks are all hole."""
    status = os.fstat(fd)
    number, size = len(made.files), node.attributes.size
    try:
        handle = handle_of(fd)
    except OSError:
        handle = b""  # found by its name then
    made.files.append(
        ColdFile(
            *(number, node.file_id, status.st_dev, status.st_ino, size, node.attributes.mtime_ns, made.blocks),
            *(node.path, handle, node.attributes.xattrs),
        )
    )
    blocks = -(-size // BLOCK_BYTES)
    at = 0
    for offset, length in data:
        first = offset // BLOCK_BYTES
        if first > at:
            made.holes.append((number, at, first))
        at = max(at, -(-(offset + length) // BLOCK_BYTES))
    if at < blocks:
        made.holes.append((number, at, blocks))
    made.blocks += blocks


def _make_links(root: bytes, node: Node, made: Skeleton) -> None:
    for name in node.links:
        _checked(made, link(_at(root, node.path), _at(root, name)))


def _way_to(root: bytes, path: bytes, made: Skeleton) -> None:
    """Directories on the way that nothing was kept of."""
    directory = os.path.dirname(path)
    if directory and directory not in made.directories:
        os.makedirs(_at(root, directory), exist_ok=True)


def _checked(made: Skeleton, missing: Shortfall | None) -> None:
    if missing is not None:
        made.shortfalls.append(missing)


def _at(root: bytes, path: bytes) -> bytes:
    return root + b"/" + path
