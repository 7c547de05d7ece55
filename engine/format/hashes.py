"""Hashes of extents: BLAKE3, 128 bits, keyed by the group, so that equal contents of two groups can't be compared."""

from __future__ import annotations

from blake3 import blake3

from engine.wire.batch import Batch
from engine.wire.frames import open_frame

HASH_BYTES = 16
_NONE = bytes(HASH_BYTES)


def extent_hash(data: bytes | memoryview, key: bytes) -> bytes:
    """The hash of one extent's bytes under a group's key of 32 bytes."""
    return blake3(data, key=key).digest(HASH_BYTES)


def batch_hashes(batch: Batch, key: bytes) -> bytes:
    """16 bytes for each row of a batch's `extent` table, in order; zeros for holes.

    Opens every frame of the batch, one at a time, and so checks them. Raises Malformed.
    """
    extents = batch.tables.get("extent")
    count = len(extents["lsn"]) if extents else 0
    hashes = [_NONE] * count
    frames = extents["frame"] if extents else ()
    order = sorted(range(count), key=frames.__getitem__)
    at = 0
    while at < count and frames[order[at]] < 0:
        at += 1
    for number, frame in enumerate(batch.frames):
        raw = open_frame(frame)
        while at < count and frames[order[at]] == number:
            row = order[at]
            skip = extents["skip"][row]  # type: ignore[index]
            part = raw[skip : skip + extents["length"][row]]  # type: ignore[index]
            hashes[row] = blake3(part, key=key).digest(HASH_BYTES)
            at += 1
    return b"".join(hashes)
