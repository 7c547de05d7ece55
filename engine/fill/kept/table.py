"""The table of a recovery's cold files, as a file: fixed rows, then what varies in length. Written once."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

from engine.env import durable
from engine.fill.base import ColdFile
from engine.model.errors import Damaged

_MAGIC = b"bcsfiles1\n"
_HEAD = struct.Struct("<Q")
_ROW = struct.Struct("<QQQqqQIIII")
"""file_id, dev, ino, size, mtime_ns, first_block; lengths of path, handle and xattrs; 0. The number is the place."""


def write(path: Path, files: Sequence[ColdFile]) -> None:
    """Durably. The numbers must be the places in the sequence."""
    parts = [_MAGIC, _HEAD.pack(len(files))]
    for number, file in enumerate(files):
        if file.number != number:
            raise ValueError(f"file {file.number} stands at {number}")
        parts.append(
            _ROW.pack(
                *(file.file_id, file.dev, file.ino, file.size, file.mtime_ns, file.first_block),
                *(len(file.path), len(file.handle), len(file.xattrs), 0),
            )
        )
    for file in files:
        parts += [file.path, file.handle, file.xattrs]
    durable.replace(path, b"".join(parts))


def read(path: Path) -> list[ColdFile]:
    """Raises Damaged."""
    data = path.read_bytes()
    begin = len(_MAGIC) + _HEAD.size
    if not data.startswith(_MAGIC) or len(data) < begin:
        raise _damaged(path)
    [count] = _HEAD.unpack_from(data, len(_MAGIC))
    at = begin + count * _ROW.size
    if len(data) < at:
        raise _damaged(path)
    files = []
    for number in range(count):
        file_id, dev, ino, size, mtime_ns, first, *lengths, _ = _ROW.unpack_from(data, begin + number * _ROW.size)
        varying = []
        for length in lengths:
            varying.append(data[at : at + length])
            at += length
        files.append(ColdFile(number, file_id, dev, ino, size, mtime_ns, first, *varying))
    if at != len(data):
        raise _damaged(path)
    return files


def _damaged(path: Path) -> Damaged:
    return Damaged(
        f"{path} is no table of files",
        hint="`bcsctl recover cancel` removes what was made; restore it once more",
        details={"object": str(path)},
    )
