from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.model.errors import UsageError
from engine.model.times import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    YEAR,
    format_about,
    format_duration,
    format_size,
    format_time,
    parse_duration,
    parse_size,
    parse_time,
)

NOON = 1_795_348_800 * SECOND  # 2026-11-22T12:00:00Z


@pytest.mark.parametrize(
    ("text", "duration"),
    [("250ms", 250_000), ("5s", 5 * SECOND), ("15m", 15 * MINUTE), ("48h", 48 * HOUR), ("7d", 7 * DAY), ("1y", YEAR)],
)
def test_durations(text: str, duration: int) -> None:
    assert parse_duration(text) == duration


@pytest.mark.parametrize("text", ["", "5", "s", "-5s", "5 s", "1.5h", "5S", "1e3s", "999999999999y", "٣s", "5s\n"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(UsageError):
        parse_duration(text)


@given(st.integers(1, 1000), st.sampled_from(["ms", "s", "m", "h", "d", "y"]))
def test_a_duration_survives_its_text(count: int, unit: str) -> None:
    duration = parse_duration(f"{count}{unit}")
    assert parse_duration(format_duration(duration)) == duration


def test_sizes() -> None:
    assert parse_size("64KiB") == 65536
    assert parse_size("10GiB") == 10 << 30
    assert [format_size(n) for n in (0, 812, 1536, 64 << 20)] == ["0 B", "812 B", "1.5 KiB", "64.0 MiB"]
    with pytest.raises(UsageError, match="'64KB' is not a size"):
        parse_size("64KB")


def test_times_with_and_without_a_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse_time("2026-11-22T12:00:00Z", 0) == NOON
    assert parse_time("2026-11-22T13:00:00+01:00", 0) == NOON
    assert parse_time("-5m", NOON) == NOON - 5 * MINUTE
    monkeypatch.setenv("TZ", "UTC-2")  # POSIX: two hours east
    import time

    time.tzset()
    try:
        assert parse_time("2026-11-22T14:00:00", 0) == NOON
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("text", ["yesterday", "", "12", "-5", "+5m", "2026-13-01", "point:1.2"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(UsageError, match="is not a time"):
        parse_time(text, NOON)


@given(st.integers(0, 4_000_000_000 * SECOND))
def test_a_time_survives_its_text(at: int) -> None:
    assert parse_time(format_time(at), 0) == at


def test_durations_for_the_eye() -> None:
    assert [format_about(d) for d in (1500, 3 * SECOND, 65 * SECOND, 2 * HOUR, 3 * DAY + 4 * HOUR)] == [
        "2 ms",
        "3.0 s",
        "1 m 5 s",
        "2 h",
        "3 d 4 h",
    ]
