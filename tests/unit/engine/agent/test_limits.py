"""What an agent may use, as it was told last, at the time that a schedule means."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from engine.agent.limits import InForce, Limits, shown
from engine.model.policy.agents import agent_settings

ZURICH = ZoneInfo("Europe/Zurich")
MIB = 1 << 20
DAY = {"from": "02:15", "to": "02:45", "limit": "1MiB/s"}


class Site:
    """Site time that a test sets."""

    def __init__(self) -> None:
        self.at = 0

    def local(self, text: str, fold: int = 0) -> None:
        self.at = int(datetime.fromisoformat(text).replace(tzinfo=ZURICH, fold=fold).timestamp() * 1e6)


def told(raw: dict[str, Any]) -> dict[str, Any]:
    """As it comes from the node, through JSON."""
    value: dict[str, Any] = json.loads(json.dumps(agent_settings(raw).as_json()))
    return value


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def limits(site: Site) -> InForce:
    return InForce(Limits(), lambda: site.at)


def test_a_change_holds_at_once(site: Site, limits: InForce) -> None:
    assert limits.bandwidth() is None
    assert limits.tell(told({"bandwidth": "5MiB/s", "cache": "1MiB"}))
    assert (limits.bandwidth(), limits.limits.cache_bytes) == (5 * MIB, MIB)
    assert not limits.tell(told({"bandwidth": "5MiB/s", "cache": "1MiB"}))
    assert limits.tell(None) and limits.bandwidth() is None


def test_times_are_those_of_the_zone_that_is_named(site: Site, limits: InForce) -> None:
    bounds = [{"from": "08:00", "to": "18:00", "days": ["mon"], "limit": "5MiB/s"}]
    limits.tell(told({"timezone": "Europe/Zurich", "bandwidth": bounds, "baselineBandwidth": "1MiB/s"}))
    found = []
    for moment in ("2026-11-23T07:59:59", "2026-11-23T08:00:00", "2026-11-23T17:59:59", "2026-11-23T18:00:00"):
        site.local(moment)
        found.append(limits.bandwidth())
    assert found == [None, 5 * MIB, 5 * MIB, None]
    assert limits.baseline_bandwidth() == MIB


def test_an_hour_that_daylight_saving_skips_never_comes_and_one_that_it_repeats_holds_twice(
    site: Site, limits: InForce
) -> None:
    limits.tell(told({"timezone": "Europe/Zurich", "bandwidth": [DAY]}))
    site.local("2026-03-29T01:59:00")
    skipped = []
    for _ in range(90):
        site.at += 60_000_000
        skipped.append(limits.bandwidth())
    assert set(skipped) == {None}
    site.local("2026-10-25T02:30:00")
    first = limits.bandwidth()
    site.local("2026-10-25T02:30:00", fold=1)
    assert (first, limits.bandwidth()) == (MIB, MIB)
    site.local("2026-10-25T03:00:00")
    assert limits.bandwidth() is None


def test_in_a_zone_that_this_host_does_not_know_the_lowest_bound_holds(site: Site, limits: InForce) -> None:
    limits.tell(told({"timezone": "Nowhere/Atall", "bandwidth": [DAY, {"limit": "9MiB/s"}]}))
    assert limits.bandwidth() == MIB and "Nowhere/Atall" in limits.message
    limits.tell(told({"bandwidth": "9MiB/s"}))
    assert limits.bandwidth() == 9 * MIB and not limits.message


@pytest.mark.parametrize("wrong", [{}, {"bandwidth": 5}, {"bandwidth": [{"bytes_a_second": 0}]}, {"cache_bytes": None}])
def test_what_makes_no_sense_changes_nothing(wrong: dict[str, Any], limits: InForce) -> None:
    limits.tell(told({"bandwidth": "5MiB/s"}))
    before = limits.limits
    with pytest.raises(ValueError, match="make no sense"):
        limits.tell({**told({}), **wrong} if wrong else {})
    assert limits.limits == before


def test_a_bound_in_words() -> None:
    bounds = [{"from": "08:00", "to": "18:00", "days": ["mon", "tue"], "limit": "5MiB/s"}, {"limit": "9MiB/s"}]
    limits = Limits(bandwidth=agent_settings({"bandwidth": bounds}).bandwidth)
    assert shown(limits)["bandwidth"] == "5.0 MiB/s mon,tue 08:00-18:00; 9.0 MiB/s"
