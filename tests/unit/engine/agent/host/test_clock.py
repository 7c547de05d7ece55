"""Site time: never backwards, slewed to the node's, deaf to the wall clock."""

from __future__ import annotations

import pytest

from engine.agent.host.clock import SiteClock
from engine.env.clock import Clock


class Turned(Clock):
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.wall, self.boot = 1_000_000_000, 5_000_000

    def now(self) -> int:
        return self.wall

    def boottime(self) -> int:
        return self.boot

    def pass_by(self, microseconds: int) -> None:
        self.wall += microseconds
        self.boot += microseconds


def test_a_stepped_wall_clock_changes_nothing() -> None:
    clock = Turned()
    site = SiteClock(clock)
    before = site.now()
    clock.wall -= 10**9
    clock.boot += 10
    assert site.now() == before + 10


def test_the_first_answer_sets_it_and_later_ones_slew() -> None:
    clock = Turned()
    site = SiteClock(clock)
    site.measure(2_000_000_000, clock.boot, clock.boot)
    assert site.now() == 2_000_000_000
    clock.pass_by(1_000_000)
    site.measure(2_001_000_000 + 400, clock.boot, clock.boot)
    assert site.now() == 2_001_000_000 + 400  # a second allows for a thousand microseconds
    clock.pass_by(100_000)
    site.measure(2_001_100_000 - 50_000, clock.boot, clock.boot)
    last = site.now()
    for _ in range(100):
        clock.pass_by(10_000)
        assert site.now() > last
        last = site.now()


def test_time_never_goes_back() -> None:
    clock = Turned()
    site = SiteClock(clock)
    site.not_before(7_000_000_000)
    assert site.now() == 7_000_000_000
    site.measure(1_500_000_000, clock.boot, clock.boot)
    assert site.now() == 7_000_000_000


def test_a_long_round_trip_does_not_override_a_short_one() -> None:
    clock = Turned()
    site = SiteClock(clock)
    site.measure(2_000_000_000, clock.boot, clock.boot + 200)
    clock.pass_by(1_000)
    before = site.now()
    site.measure(2_500_000_000, clock.boot, clock.boot + 400_000)
    assert site.now() == before


@pytest.mark.parametrize(("there", "back"), [(40_000, 40_000), (79_000, 1_000), (1_000, 79_000)])
def test_a_lopsided_line_shifts_it_by_half_the_round_trip_at_most(there: int, back: int) -> None:
    machine = Turned()
    clock = SiteClock(machine)
    ahead = 5_000_000_000  # the node's clock, before the host's
    sent = machine.boottime()
    machine.pass_by(there + back)
    clock.measure(sent + there + ahead, sent, machine.boottime())
    true = machine.boottime() + ahead
    assert abs(clock.now() - true) == abs(there - back) // 2 <= 40_000
