"""The fast overlay equals the plain one, for any extents."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.model.events import DataRef, Extent
from engine.model.extents import overlay
from engine.query.overlay import visible

RANGES = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 15)), max_size=25)


@given(RANGES, st.randoms(use_true_random=False))
def test_visible_ranges(ranges: list[tuple[int, int]], order) -> None:  # type: ignore[no-untyped-def]
    lsns = list(range(1, len(ranges) + 1))
    order.shuffle(lsns)
    data = DataRef("packs/p", 0, 1, 0)
    plain = overlay(
        [Extent(lsn, 0, 1, at, length, data, bytes([lsn])) for lsn, (at, length) in zip(lsns, ranges, strict=True)], 100
    )
    cuts = sorted((at, at + length, lsn) for lsn, (at, length) in zip(lsns, ranges, strict=True))
    fast = [(at, ends - at, cuts[index][2]) for at, ends, index in visible(cuts)]
    assert fast == [(piece.offset, piece.length, piece.hash[0]) for piece in plain]
