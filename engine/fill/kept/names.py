"""Every name of a source at the moment that a recovery brings back, with its inode: what capture goes on from.

Written once, before the tree can be reached. A row a name, parents before what is in them; `/` itself has the path
b"/". Numbers in little endian, then what varies in length.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from engine.env import durable
from engine.model.errors import Damaged

_MAGIC = b"bcsnames1\n"
_ROW = struct.Struct("<QcxxxIIIqqQIII")
"""file_id, type, mode, uid, gid, size, mtime_ns, rdev; lengths of path, target and xattrs."""
NAMES_A_PART = 10_000


class Name(NamedTuple):
    """One name, absolute, and what the journal says of the inode it leads to (engine.model.events.Inode)."""

    path: bytes
    file_id: int
    type: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    rdev: int
    target: bytes
    xattrs: bytes


def write(path: Path, names: Iterable[Name]) -> None:
    """Durably."""
    write_packed(path, (packed(some) for some in batched(names)))


def write_packed(path: Path, parts: Iterable[bytes]) -> None:
    """Durably, of parts as `packed` gives them."""
    durable.replace(path, [_MAGIC, *parts])


def packed(names: Iterable[Name]) -> bytes:
    """Some names as they stand in the file."""
    part = bytearray()
    for one in names:
        head = (one.file_id, one.type.encode("ascii"), one.mode, one.uid, one.gid, one.size, one.mtime_ns, one.rdev)
        part += _ROW.pack(*head, len(one.path), len(one.target), len(one.xattrs))
        part += one.path + one.target + one.xattrs
    return bytes(part)


def batched(names: Iterable[Name]) -> Iterator[list[Name]]:
    rest = iter(names)
    while some := list(islice(rest, NAMES_A_PART)):
        yield some


def read(path: Path) -> Iterator[Name]:
    """Raises Damaged."""
    data = memoryview(path.read_bytes())
    at = len(_MAGIC)
    if bytes(data[:at]) != _MAGIC:
        raise _damaged(path)
    while at < len(data):
        if at + _ROW.size > len(data):
            raise _damaged(path)
        (file_id, letter, mode, uid, gid, size, mtime_ns, rdev, *lengths) = _ROW.unpack_from(data, at)
        at += _ROW.size
        varying = []
        for length in lengths:
            varying.append(bytes(data[at : at + length]))
            at += length
        if at > len(data):
            raise _damaged(path)
        kind = letter.decode("ascii")
        yield Name(varying[0], file_id, kind, mode, uid, gid, size, mtime_ns, rdev, varying[1], varying[2])


def _damaged(path: Path) -> Damaged:
    return Damaged(
        f"{path} is no list of names",
        hint="`bcsctl recover cancel` removes what was made; restore it once more",
        details={"object": str(path)},
    )
