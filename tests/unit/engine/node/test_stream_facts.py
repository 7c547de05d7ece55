"""What a node knows of a stream from the batches that it acknowledged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.model.ids import Position
from engine.model.times import MINUTE
from engine.node.streams import DELAYS_KEPT, Known, StreamFacts
from engine.wire.batch import NO_HASH, Batch, BatchBuilder, decode

STREAM = "0123456789abcdef"


def batch(fill: Callable[[BatchBuilder], Any], lsn_first: int = 1) -> Batch:
    builder = BatchBuilder(STREAM, 1, lsn_first, NO_HASH)
    fill(builder)
    return decode(b"".join(builder.encode()[0]))


def test_nothing_is_a_point_before_the_baseline() -> None:
    facts = StreamFacts()
    facts.acknowledged(batch(lambda b: b.mark(5, "pass")), 10)
    assert facts.stored(STREAM, 10).point is None
    facts.acknowledged(batch(lambda b: b.mark(6, "baseline"), 2), 11)
    assert (facts.stored(STREAM, 11).point, facts.stored(STREAM, 11).point_at) == ("1.2", 6)
    facts.acknowledged(
        batch(lambda b: (b.dentry(7, 0, b"x", None), b.mark(8, "pass"), b.dentry(9, 0, b"y", None)), 3), 12
    )
    stored = facts.stored(STREAM, 12)
    assert (stored.point, stored.point_at, stored.last_change_at) == ("1.4", 8, 9)


def test_gaps_are_counted() -> None:
    facts = StreamFacts()
    facts.acknowledged(batch(lambda b: [b.mark(at, "gap", "overflow", "", at - 1) for at in (5, 6)]), 10)
    assert facts.stored(STREAM, 10).gaps == 2


def test_what_a_recovery_leaves_behind_is_counted_apart() -> None:
    facts = StreamFacts()
    facts.acknowledged(batch(lambda b: (b.mark(1, "baseline"), b.mark(5, "gap", "overflow", "", 4))), 10)
    facts.forked(STREAM, Known(Position(1, 1), 1, epoch=2, gaps=0, gaps_beside=1, started=True))
    stored = facts.stored(STREAM, 11)
    assert (stored.point, stored.gaps, stored.gaps_beside) == ("1.1", 0, 1)


def test_counters_only_grow_however_often_the_agent_begins_anew() -> None:
    facts, seen = StreamFacts(), []
    for count in (100, 150, 20, 20, 60):
        facts.counted("s", {"bytes_sent": count})
        seen.append(facts.stored("s", 0).traffic["bytes_sent"])
    assert seen == [100, 150, 170, 170, 210]


def test_completeness_never_goes_back() -> None:
    facts = StreamFacts()
    for at in (5, 9, 7):
        facts.through(STREAM, at)
    assert facts.stored(STREAM, 10).through_at == 9
    assert facts.stored("other", 10).through_at is None


def test_delays_are_those_of_changes_after_the_baseline_in_the_last_minutes() -> None:
    facts = StreamFacts()
    facts.acknowledged(batch(lambda b: (b.dentry(1000, 0, b"x", None), b.mark(1000, "baseline"))), 900_000)
    assert list(facts.stored(STREAM, 900_000).delays_ms) == []
    facts.acknowledged(batch(lambda b: b.dentry(1_000_000, 0, b"y", None), 3), 1_025_000)
    facts.acknowledged(batch(lambda b: b.mark(1_100_000, "pass"), 4), 1_125_000)  # no change: no delay
    assert list(facts.stored(STREAM, 1_200_000).delays_ms) == [25.0]
    assert list(facts.stored(STREAM, 1_025_000 + 6 * MINUTE).delays_ms) == []


def test_delays_kept_are_bounded() -> None:
    facts = StreamFacts()
    facts.acknowledged(batch(lambda b: b.mark(1, "baseline")), 2)
    change = batch(lambda b: b.dentry(1_000_000, 0, b"y", None), 2)
    for number in range(DELAYS_KEPT + 50):
        facts.acknowledged(change, 1_000_000 + number)
    assert len(list(facts.stored(STREAM, 1_000_000).delays_ms)) == DELAYS_KEPT
