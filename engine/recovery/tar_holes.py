"""Sparse files in a tar stream: GNU's format 1.0 for pax, which GNU tar, bsdtar and Python's tarfile read.

A file's bytes begin with a map, decimal numbers a line each (how many regions, then offset and length of each), filled
up to a block; behind it come the regions. GNU tar begins each region with a new block and bsdtar does not, so all but
the last are whole blocks long. Source: the manual of GNU tar, "PAX Format, Versions 1.0 and later".
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from engine.model.extents import Piece

BLOCK_BYTES = 512


@dataclass(frozen=True, slots=True)
class Holes:
    """How a file is kept: its regions of data, (offset, length), ascending; between them there is nothing."""

    regions: tuple[tuple[int, int], ...]
    size: int

    @property
    def map(self) -> bytes:
        """What comes before the regions; one of no length says where a file ends that ends with a hole."""
        shown = list(self.regions)
        if not shown or sum(shown[-1]) < self.size:
            shown.append((self.size, 0))
        text = b"%d\n" % len(shown) + b"".join(b"%d\n%d\n" % region for region in shown)
        return text + bytes(-len(text) % BLOCK_BYTES)

    @property
    def kept_bytes(self) -> int:
        return len(self.map) + sum(length for _, length in self.regions)

    def records(self, name: bytes) -> dict[str, bytes]:
        """The pax records that say so; the name stands here alone, for who does not know them shall not take it."""
        return {
            "GNU.sparse.major": b"1",
            "GNU.sparse.minor": b"0",
            "GNU.sparse.name": name,
            "GNU.sparse.realsize": b"%d" % self.size,
        }


def holes_of(pieces: Sequence[Piece], size: int) -> Holes | None:
    """None where leaving out what is between the pieces saves nothing."""
    regions: list[tuple[int, int]] = []
    for piece in pieces:
        begins = piece.offset - piece.offset % BLOCK_BYTES
        ends = piece.offset + piece.length
        ends = min(size, ends + -ends % BLOCK_BYTES)
        if regions and begins <= sum(regions[-1]):
            begins = regions.pop()[0]
        regions.append((begins, ends - begins))
    found = Holes(tuple(regions), size)
    return found if found.kept_bytes < size else None


def placeholder(name: bytes) -> bytes:
    """The name for who does not know the format, as GNU tar makes it."""
    directory, last = os.path.split(name)
    return os.path.join(directory, b"GNUSparseFile.0", last)
