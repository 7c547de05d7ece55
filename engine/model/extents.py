"""Overlaying extents: which bytes of a file come from where, at one point.

A later extent (higher LSN) wins where two overlap; holes win like any other extent.
This is the plain form, quadratic at worst: the oracle that faster ones are tested against.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from engine.model.events import DataRef, Extent


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes [offset, offset+length) of a file come from `data`, `skip` bytes into that extent's
    own bytes; None is a hole. `extent_length` and `hash` are the whole extent's, for checking."""

    offset: int
    length: int
    data: DataRef | None
    skip: int
    extent_length: int
    hash: bytes


def overlay(extents: Iterable[Extent], size: int) -> list[Piece]:
    """The pieces of a file of `size` bytes, in order of offset, without holes and overlaps.

    Ranges that no extent covers are holes, as ranges covered by a hole are; both are left out.
    """
    pieces: list[Piece] = []
    for extent in sorted(extents, key=lambda e: e.lsn):
        end = min(extent.offset + extent.length, size)
        if end <= extent.offset:
            continue
        pieces = [part for piece in pieces for part in _without(piece, extent.offset, end)]
        if extent.data is not None:
            length = end - extent.offset
            pieces.append(Piece(extent.offset, length, extent.data, 0, extent.length, extent.hash))
    return sorted(pieces, key=lambda piece: piece.offset)


def _without(piece: Piece, start: int, end: int) -> list[Piece]:
    """What is left of a piece when [start, end) is taken from it: none, one or two pieces."""
    piece_end = piece.offset + piece.length
    if end <= piece.offset or start >= piece_end:
        return [piece]
    left: list[Piece] = []
    if piece.offset < start:
        left.append(_cut(piece, piece.offset, start))
    if end < piece_end:
        left.append(_cut(piece, end, piece_end))
    return left


def _cut(piece: Piece, start: int, end: int) -> Piece:
    skip = piece.skip + (start - piece.offset)
    return Piece(start, end - start, piece.data, skip, piece.extent_length, piece.hash)
