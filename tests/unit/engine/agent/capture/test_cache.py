"""Old bytes: bounded, and never more than a hint; what differs between two blocks is found whole."""

from __future__ import annotations

import os
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as s

from engine.agent.capture.cache import ENTRY_BYTES, NEAR_BYTES, OldBytes, differing

CHANGES = s.lists(s.tuples(s.integers(0, 8191), s.integers(1, 300)), max_size=6)


@given(seed=s.binary(min_size=1, max_size=8), size=s.integers(0, 8192), grown=s.integers(0, 8192), changes=CHANGES)
def test_old_bytes_and_what_differs_make_the_new_ones(
    seed: bytes, size: int, grown: int, changes: list[tuple[int, int]]
) -> None:
    old = (seed * 8192)[:size]
    new = bytearray((seed * 8192)[: max(size, grown)])
    for at, length in changes:
        new[at : at + length] = bytes(byte ^ 0x55 for byte in new[at : at + length])
    found = differing(old, bytes(new))
    if found is None:
        return
    made = bytearray(old).ljust(len(new), b"\1")
    for begin, end in found:
        made[begin:end] = new[begin:end]
    assert made == new
    assert all(begin < end for begin, end in found)
    gaps = [after[0] - before[1] for before, after in pairwise(found)]
    assert not gaps or min(gaps) >= NEAR_BYTES


def test_a_small_change_is_found_as_it_is() -> None:
    old = os.urandom(8192)
    new = bytearray(old)
    for at in (0, 100, 120, 8191):
        new[at] ^= 1
    assert differing(old, bytes(new)) == [(0, 1), (100, 121), (8191, 8192)]


def test_what_differs_in_most_places_is_sent_whole() -> None:
    old = os.urandom(8192)
    assert differing(old, os.urandom(8192)) is None
    assert differing(old, bytes(byte ^ (at % 40 == 0) for at, byte in enumerate(old))) is None


def test_the_budget_is_kept_and_the_block_used_last_stays() -> None:
    kept = OldBytes(3 * (8192 + ENTRY_BYTES))
    for number in range(3):
        kept.put(("s", 1, number), bytes(8192))
    assert kept.get(("s", 1, 0)) is not None
    kept.put(("s", 1, 3), bytes(8192))
    assert kept.get(("s", 1, 1)) is None
    assert kept.get(("s", 1, 0)) is not None
    assert kept.bytes <= kept.budget_bytes
    kept.put(("t", 1, 0), bytes(10))
    kept.drop("s")
    assert kept.get(("s", 1, 0)) is None
    assert kept.bytes == 10 + ENTRY_BYTES


def test_without_a_budget_nothing_is_kept() -> None:
    kept = OldBytes(0)
    kept.put(("s", 1, 0), bytes(100))
    assert kept.get(("s", 1, 0)) is None
    assert kept.bytes == 0
