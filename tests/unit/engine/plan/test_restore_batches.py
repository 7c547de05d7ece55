"""Cutting a tree's content into batches: every piece once, in order, at frames' ends."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.model.events import DataRef
from engine.model.extents import Piece
from engine.plan import restore_batches
from engine.plan.restore_batches import cuts, where

FRAME = 256 << 10


def piece(offset: int, length: int, frame: int) -> Piece:
    return Piece(offset, length, DataRef("packs/p", frame, length, 0), 0, length, b"")


def whole(files: Sequence[Sequence[Piece]]) -> list[list[Piece]]:
    """The pieces of each file as the cuts hand them out; checks what each part says of itself."""
    found: list[list[Piece]] = [[] for _ in files]
    finished = [0] * len(files)
    for cut in cuts(files):
        for part in cut.parts(files):
            assert not finished[part.file] and part.first == len(found[part.file])
            found[part.file] += files[part.file][part.first : part.end]
            finished[part.file] += part.last
    assert finished == [1] * len(files)
    return found


@given(st.lists(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 3)), max_size=6), max_size=12))
def test_every_piece_comes_once_and_in_order(shapes: list[list[tuple[int, int]]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(restore_batches, "BATCH_BYTES", 4)
        patch.setattr(restore_batches, "FILES_MAX", 3)
        patch.setattr(restore_batches, "PIECES_MAX", 4)
        files = [[piece(0, length, frame) for length, frame in shape] for shape in shapes]
        assert whole(files) == files


def test_a_batch_ends_where_a_frame_does() -> None:
    small = [[piece(0, 1000, number // 200)] for number in range(100_000)]
    found = cuts(small)
    assert len(found) > 5
    for one, other in itertools.pairwise(found):
        if one.file_last - one.file + 1 < restore_batches.FILES_MAX:
            last, first = small[one.file_last][0].data, small[other.file][0].data
            assert last is not None and first is not None and last.frame != first.frame


def test_a_large_file_is_in_several_batches_of_bounded_size() -> None:
    large = [[piece(number * FRAME, FRAME, number) for number in range(200)]]
    found = cuts(large)
    assert whole(large) == large
    assert [cut.end - cut.first for cut in found[:-1]] == [restore_batches.BATCH_BYTES // FRAME] * (len(found) - 1)
    # One frame that is referred to again and again can't make a batch grow without end.
    same = [[piece(number * FRAME, FRAME, 7) for number in range(1000)]]
    assert all((cut.end - cut.first) * FRAME <= 5 * restore_batches.BATCH_BYTES for cut in cuts(same))
    assert whole(same) == same


def test_files_without_bytes_come_first_and_are_cut_too() -> None:
    assert where(()) < where((piece(0, 1, 0),))
    empty: list[list[Piece]] = [[] for _ in range(3 * restore_batches.FILES_MAX)]
    assert whole(empty) == empty and len(cuts(empty)) == 3
    assert cuts([]) == []
