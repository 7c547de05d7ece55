"""How the content of a restored tree is cut into batches, before any of it is read. Pure.

Files come in the order of where their bytes lie, and a batch ends where a frame does: so nearly all frames are handed
on whole. The same plan over the same pieces gives the same cuts, whoever asks and when.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from engine.model.extents import Piece

BATCH_BYTES = 8 << 20
"""A batch is closed at the next frame once it holds this many raw bytes; at four times that, anywhere."""

FILES_MAX = 2_000
PIECES_MAX = 20_000


@dataclass(frozen=True, slots=True)
class Part:
    """Pieces [first, end) of file `file`; `last` says that none come after them."""

    file: int
    first: int
    end: int
    last: bool


@dataclass(frozen=True, slots=True)
class Cut:
    """One batch: from piece `first` of file `file` to before piece `end` of file `file_last`."""

    file: int
    first: int
    file_last: int
    end: int

    def parts(self, files: Sequence[Sequence[Piece]]) -> Iterator[Part]:
        """What the batch holds of each file."""
        for file in range(self.file, self.file_last + 1):
            count = len(files[file])
            first = self.first if file == self.file else 0
            end = self.end if file == self.file_last else count
            yield Part(file, first, end, end == count)


def where(pieces: Sequence[Piece]) -> tuple[str, int, int]:
    """By this files are ordered: where their first byte lies; those without bytes first."""
    for piece in pieces:
        if piece.data is not None:
            return piece.data.pack, piece.data.frame, piece.data.skip
    return "", 0, 0


def cuts(files: Sequence[Sequence[Piece]]) -> list[Cut]:
    """The batches for the pieces of all files, which are in order of `where`. Each file is in at least one."""
    found: list[Cut] = []
    start, at, pieces, size = (0, 0), (0, 0), 0, 0
    frame: tuple[str, int] | None = None
    for number, file in enumerate(files):
        if number - start[0] >= FILES_MAX and at != (0, 0):
            found.append(Cut(*start, *at))
            start, pieces, size = (number, 0), 0, 0
        for index, piece in enumerate(file):
            next_frame = (piece.data.pack, piece.data.frame) if piece.data else None
            full = size >= BATCH_BYTES or pieces >= PIECES_MAX
            if (full and next_frame != frame) or size >= 4 * BATCH_BYTES:
                found.append(Cut(*start, *at))
                start, pieces, size = (number, index), 0, 0
            pieces, size, frame = pieces + 1, size + piece.length, next_frame
            at = (number, index + 1)
        at = (number, len(file))
    if files:
        found.append(Cut(*start, *at))
    return found
