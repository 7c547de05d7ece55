"""Spans merged and clipped."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as some

from engine.agent.ranges.base import Unknown, clipped, merged

_spans = some.lists(some.tuples(some.integers(0, 300), some.integers(1, 40)).map(lambda each: (each[0], sum(each))))


def _bytes(spans: list[tuple[int, int]]) -> set[int]:
    return {at for start, end in spans for at in range(start, end)}


@given(_spans)
def test_merged_spans_cover_the_same(spans: list[tuple[int, int]]) -> None:
    found = merged(spans)
    assert _bytes(found) == _bytes(spans)
    assert all(before[1] < after[0] for before, after in pairwise(found))


@given(_spans, some.integers(1, 5))
def test_few_spans_cover_at_least_the_same(spans: list[tuple[int, int]], count: int) -> None:
    found = merged(spans, count)
    assert len(found) <= count
    assert _bytes(found) >= _bytes(spans)


@given(_spans, some.integers(0, 400))
def test_clipped_spans_lie_in_the_file(spans: list[tuple[int, int]], size: int) -> None:
    found = clipped(merged(spans), size)
    assert _bytes([(at, at + length) for at, length in found]) == {at for at in _bytes(spans) if at < size}


def test_knowing_nothing_names_the_reason() -> None:
    assert "since the kernel has no trace events" in Unknown("the kernel has no trace events").costs
    assert Unknown().of(1, 2, 0, 3) is None
