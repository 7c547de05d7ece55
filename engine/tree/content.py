"""A hash of what a file holds for which holes cost nothing: equal bytes give equal hashes, wherever the holes lie."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator

from blake3 import blake3

from engine.tree.sparse import data_ranges

GRAIN_BYTES = 64 << 10
"""Zeros are left out where so many, at a multiple of it, are nothing else; in a hole they are not even read."""

_STEP_BYTES = 64 * GRAIN_BYTES
_ZEROS = bytes(GRAIN_BYTES)
_DIGEST_BYTES = 16
_END = struct.Struct("<QQ")

Span = tuple[int, int]
"""(start, end) in bytes of the file."""


def content_hash(fd: int) -> str:
    """BLAKE3 of an open file, hexadecimal: of the grains that are not all zeros, of where they lie, of the size.

    Moves the file offset; raises OSError.
    """
    size = os.fstat(fd).st_size
    hasher = blake3()
    runs: list[Span] = []
    for start, end in _spans(fd, size):
        for at in range(start, end, _STEP_BYTES):
            part = _read(fd, at, min(_STEP_BYTES, end - at))
            for first, last in _not_zero(part):
                hasher.update(memoryview(part)[first:last])
                if runs and runs[-1][1] == at + first:
                    runs[-1] = (runs[-1][0], at + last)
                else:
                    runs.append((at + first, at + last))
    # Behind the bytes, and their number last: read from the end, no two files give the same.
    hasher.update(b"".join(_END.pack(*run) for run in runs) + _END.pack(len(runs), size))
    return hasher.hexdigest(_DIGEST_BYTES)


def _spans(fd: int, size: int) -> Iterator[Span]:
    """Where there is data, in whole grains, ascending, none beside another."""
    start = end = 0
    for offset, length in data_ranges(fd, size):
        first = offset // GRAIN_BYTES * GRAIN_BYTES
        if first > end:
            yield start, end
            start = first
        end = min(size, -(-(offset + length) // GRAIN_BYTES) * GRAIN_BYTES)
    yield start, end


def _read(fd: int, at: int, count: int) -> bytes:
    """So many bytes, fewer only where the file has become shorter."""
    part = os.pread(fd, count, at)
    while len(part) < count and (more := os.pread(fd, count - len(part), at + len(part))):
        part += more
    return part


def _not_zero(part: bytes) -> Iterator[Span]:
    """The runs of grains that hold something else than zeros."""
    start = None
    for at in range(0, len(part), GRAIN_BYTES):
        if part.startswith(_ZEROS[: len(part) - at], at):
            if start is not None:
                yield start, at
            start = None
        elif start is None:
            start = at
    if start is not None:
        yield start, len(part)
