"""Sending no faster than allowed, all streams together."""

from __future__ import annotations

import threading

from engine.agent.ship.pace import PIECE_BYTES_MAX, UNBOUND, Pace, Slower
from engine.env.clock import Clock


class Turned(Clock):
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.at = 1000.0
        self.lock = threading.Lock()

    def monotonic(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        with self.lock:
            self.at += seconds


def test_without_a_bound_a_buffer_stays_whole() -> None:
    buffer = bytes(10 << 20)
    (piece,) = UNBOUND.pieces(buffer)
    assert piece is buffer


def test_what_is_sent_takes_its_time_and_stays_the_same() -> None:
    clock = Turned()
    pace = Pace(1 << 20, clock)
    data = bytes(range(256)) * (4 << 12)
    pieces = [bytes(piece) for piece in pace.pieces(data)]
    assert b"".join(pieces) == data and max(map(len, pieces)) <= PIECE_BYTES_MAX
    assert 3.9 < clock.at - 1000.0 <= 4.0


def test_streams_share_one_bound() -> None:
    clock = Turned()
    pace = Pace(100_000, clock)
    both = [pace.pieces(bytes(100_000)) for _ in range(2)]
    for pieces in zip(*both, strict=True):
        assert all(pieces)
    assert 1.8 < clock.at - 1000.0 <= 2.0


def test_a_quiet_time_saves_nothing_up() -> None:
    clock = Turned()
    pace = Pace(100_000, clock)
    list(pace.pieces(b"x" * 1000))
    clock.at += 3600
    began = clock.at
    list(pace.pieces(bytes(200_000)))
    assert clock.at - began > 1.8


def test_a_bound_that_changes_holds_for_what_is_being_sent() -> None:
    clock, rate = Turned(), [100_000]
    pieces = Pace(lambda: rate[0], clock).pieces(bytes(300_000))
    sent = 0
    while sent < 100_000:
        sent += len(next(pieces))
    slow = clock.at - 1000.0
    rate[0] = 10_000_000
    rest = list(pieces)
    assert 0.9 < slow <= 1.0 and clock.at - 1000.0 - slow < 0.1
    assert sent + sum(map(len, rest)) == 300_000


def test_a_bound_that_goes_lets_the_rest_go_at_once() -> None:
    rate: list[int | None] = [100_000]
    pieces = Pace(lambda: rate[0], Turned()).pieces(bytes(300_000))
    first = next(pieces)
    rate[0] = None
    (rest,) = pieces
    assert len(first) + len(rest) == 300_000


def test_a_baseline_keeps_to_its_own_bound_and_leaves_the_line_to_others() -> None:
    clock = Turned()
    line = Pace(1_000_000, clock)
    during = [True]
    baseline = Slower(Pace(100_000, clock), line, lambda: during[0])
    assert b"".join(baseline.pieces(b"x" * 100_000)) == b"x" * 100_000
    assert 0.9 < clock.at - 1000.0 <= 1.0
    during[0] = False
    began = clock.at
    list(baseline.pieces(bytes(100_000)))
    assert clock.at - began <= 0.11
