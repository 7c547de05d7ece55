"""What agents may use: bounds by the time of the week, and the form in which agents are told."""

from __future__ import annotations

from typing import Any

import pytest

from engine.model.policy.agents import (
    AgentSettings,
    Bound,
    agent_settings,
    bound_at,
    read_schedule,
    schedule,
    settings_of,
)

MON, TUE, WED, THU, FRI, SAT, SUN = range(7)
OFFICE = schedule(
    [
        {"from": "08:00", "to": "18:00", "days": ["mon", "tue", "wed", "thu", "fri"], "limit": "5MiB/s"},
        {"limit": "100MiB/s"},
    ]
)
NIGHT = schedule([{"from": "22:00", "to": "06:00", "days": ["fri"], "limit": "1KiB/s"}])
MIB = 1 << 20


def at(text: str) -> int:
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)


@pytest.mark.parametrize(
    ("bounds", "day", "time", "expected"),
    [
        (OFFICE, MON, "07:59", 100 * MIB),
        (OFFICE, MON, "08:00", 5 * MIB),
        (OFFICE, FRI, "17:59", 5 * MIB),
        (OFFICE, FRI, "18:00", 100 * MIB),
        (OFFICE, SAT, "12:00", 100 * MIB),
        (NIGHT, FRI, "21:59", None),
        (NIGHT, FRI, "22:00", 1024),
        (NIGHT, FRI, "23:59", 1024),
        (NIGHT, SAT, "00:00", 1024),
        (NIGHT, SAT, "05:59", 1024),
        (NIGHT, SAT, "06:00", None),
        (NIGHT, SAT, "22:00", None),
        (NIGHT, FRI, "05:59", None),
        (schedule([{"from": "22:00", "to": "06:00", "days": ["sun"], "limit": "1KiB/s"}]), MON, "01:00", 1024),
        (schedule([{"from": "22:00", "to": "00:00", "limit": "1KiB/s"}]), MON, "23:59", 1024),
        (schedule([{"from": "22:00", "to": "00:00", "limit": "1KiB/s"}]), MON, "00:00", None),
        (schedule([{"from": "22:00", "to": "24:00", "limit": "1KiB/s"}]), MON, "23:59", 1024),
        (schedule("50MiB/s"), SUN, "00:00", 50 * MIB),
        ((), SUN, "00:00", None),
    ],
)
def test_the_bound_of_a_minute(bounds: Any, day: int, time: str, expected: int | None) -> None:
    assert bound_at(bounds, day, at(time)) == expected


def test_of_bounds_that_overlap_the_first_counts() -> None:
    lunch = schedule([{"from": "12:00", "to": "13:00", "limit": "9MiB/s"}, {"from": "08:00", "limit": "2MiB/s"}])
    found = [bound_at(lunch, MON, at(time)) for time in ("07:00", "11:59", "12:00", "12:59", "13:00", "23:59")]
    assert found == [None, 2 * MIB, 9 * MIB, 9 * MIB, 2 * MIB, 2 * MIB]


def test_each_minute_of_the_week_is_bound_as_a_list_of_minutes_says() -> None:
    """A night that begins on some days, against marking its minutes one after the other."""
    bound = Bound(7, at("21:30"), at("03:15"), (SUN, WED))
    marked = set()
    for day in bound.days:
        for minute in range(at("21:30"), at("21:30") + 5 * 60 + 45):
            marked.add(((day * 1440) + minute) % (7 * 1440))
    found = {day * 1440 + minute for day in range(7) for minute in range(1440) if bound.holds(day, minute)}
    assert found == marked


def test_what_agents_are_told_reads_back_and_leaves_out_what_bounds_their_service() -> None:
    raw = {
        "spoolLimit": "2GiB",
        "bandwidth": [{"from": "08:00", "to": "18:00", "days": ["sat", "sun"], "limit": "5MiB/s"}],
        "baselineBandwidth": "1MiB/s",
        "timezone": "Europe/Zurich",
        "memoryLimit": "512MiB",
        "cache": "16MiB",
        "bigFilePace": "100MiB/s",
        "cpuWeight": 30,
        "ioWeight": 10,
        "hosts": "spare",
    }
    settings = agent_settings(raw)
    assert (settings.cpu_weight, settings.io_weight, settings.hosts) == (30, 10, "spare")
    told = settings.as_json()
    assert told == {
        "spool_limit_bytes": 2 << 30,
        "bandwidth": [{"bytes_a_second": 5 * MIB, "begins": 480, "ends": 1080, "days": (SAT, SUN)}],
        "baseline_bandwidth": [{"bytes_a_second": MIB, "begins": 0, "ends": 1440, "days": ()}],
        "timezone": "Europe/Zurich",
        "memory_limit_bytes": 512 * MIB,
        "cache_bytes": 16 * MIB,
        "big_file_bytes_a_second": 100 * MIB,
    }
    assert read_schedule(told["bandwidth"]) == settings.bandwidth


def test_only_the_document_of_the_site_itself_counts() -> None:
    documents = {
        "Site/sf": {"spec": {"agent": {"spoolLimit": "1GiB"}}},
        "Site/boston": {"spec": {"agent": {"spoolLimit": "2GiB"}}},
    }
    assert settings_of(documents, "sf").spool_limit == 1 << 30
    assert settings_of(documents, "local") == settings_of({}, "local") == AgentSettings()
