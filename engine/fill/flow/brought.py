"""What a fetch brought: a chunk's bytes in one piece and the map's entries for them, made before any lock is taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.fill.base import BLOCK_BYTES, DIGEST_BYTES
from engine.fill.flow.chunks import Blocks
from engine.fill.flow.storing import Part, assembled
from engine.fill.kept.map import digests


@dataclass(frozen=True, slots=True)
class Brought:
    """The bytes of `chunk` as far as `limit` goes, and an entry of each of their blocks; `parts` are not holes."""

    chunk: Blocks
    parts: Sequence[Part]
    data: memoryview
    entries: bytes

    @property
    def start(self) -> int:
        """Where the bytes begin in the file."""
        return self.chunk[0] * BLOCK_BYTES

    def up_to(self, limit: int) -> Brought:
        """The same of a file that ends at `limit`, which may be less than it was."""
        length = max(0, limit - self.start)
        if length >= len(self.data):
            return self
        data = self.data[:length]
        whole = length // BLOCK_BYTES
        return Brought(
            *(self.chunk, self.parts, data),
            self.entries[: whole * DIGEST_BYTES] + digests(data[whole * BLOCK_BYTES :]),
        )

    def entries_but(self, others: Mapping[int, bytes]) -> bytes:
        """The entries, with those of some blocks of the file, all in the chunk, being others."""
        entries = bytearray(self.entries)
        for block, entry in others.items():
            at = (block - self.chunk[0]) * DIGEST_BYTES
            entries[at : at + DIGEST_BYTES] = entry
        return bytes(entries)


def brought(parts: Sequence[Part], chunk: Blocks, limit: int) -> Brought:
    """Of the parts that a supply gave for a chunk of a file that is filled up to `limit`; holes are zeros."""
    start = chunk[0] * BLOCK_BYTES
    data = memoryview(assembled(parts, start, max(start, min(chunk[1] * BLOCK_BYTES, limit))))
    return Brought(chunk, parts, data, digests(data))
