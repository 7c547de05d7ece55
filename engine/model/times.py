"""Times, durations and sizes as users write them, and the integers that the program computes with.

A time is an int: microseconds since 1970-01-01T00:00:00Z. A duration is an int of
microseconds, a size an int of bytes. Parsing happens here and nowhere else.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from engine.model.errors import UsageError

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
YEAR = 365 * DAY

SKEW_TOLD = 2 * SECOND
"""A host's clock that is off by more is told: nothing here depends on it, but much on that host may."""

_DURATION_UNITS = {"ms": 1000, "s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY, "w": 7 * DAY, "y": YEAR}
_SIZE_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40, "PiB": 1 << 50}

DURATION_PATTERN = r"^[0-9]{1,12}(ms|s|m|h|d|w|y)$"
SIZE_PATTERN = r"^[0-9]{1,15}(B|KiB|MiB|GiB|TiB|PiB)$"

DURATION_LONGEST = 1000 * YEAR
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RELATIVE = re.compile(r"^-([0-9]{1,12}(?:ms|s|m|h|d|w|y))$")


def parse_duration(text: str) -> int:
    """`250ms`, `5s`, `15m`, `48h`, `7d`, `1y` as microseconds. A year is 365 days."""
    match = re.fullmatch(DURATION_PATTERN, text)
    if not match:
        raise UsageError(
            f"'{text}' is not a duration",
            hint="write a whole number and a unit: 250ms, 5s, 15m, 48h, 7d, 4w or 1y",
        )
    unit = match.group(1)
    value = int(text[: -len(unit)]) * _DURATION_UNITS[unit]
    if value > DURATION_LONGEST:
        raise UsageError(f"'{text}' is longer than 1000 years", hint="write a shorter duration")
    return value


def format_duration(duration: int) -> str:
    """The shortest exact form with one unit that `parse_duration` reads back, down to 1 ms."""
    if duration == 0:
        return "0s"
    for unit in ("y", "d", "h", "m", "s", "ms"):
        size = _DURATION_UNITS[unit]
        if duration % size == 0:
            return f"{duration // size}{unit}"
    return f"{max(1, round(duration / 1000))}ms"


def format_about(duration: int) -> str:
    """A duration for the eye, two units at most: `3 s`, `250 ms`, `2 h 5 m`, `3 d 4 h`."""
    if duration < SECOND:
        return f"{round(duration / 1000)} ms"
    if duration < 10 * SECOND:
        return f"{duration / SECOND:.1f} s"
    parts: list[str] = []
    rest = duration
    for unit, size in (("d", DAY), ("h", HOUR), ("m", MINUTE), ("s", SECOND)):
        count, rest = divmod(rest, size)
        if count or parts:
            parts.append(f"{count} {unit}")
        if len(parts) == 2:
            break
    return " ".join(part for index, part in enumerate(parts) if index == 0 or not part.startswith("0 "))


def parse_size(text: str) -> int:
    """`64KiB`, `10GiB` as bytes."""
    match = re.fullmatch(SIZE_PATTERN, text)
    if not match:
        raise UsageError(f"'{text}' is not a size", hint="write a whole number and a unit: 512B, 64KiB, 10GiB or 2TiB")
    unit = match.group(1)
    return int(text[: -len(unit)]) * _SIZE_UNITS[unit]


def format_size(count: int) -> str:
    """Bytes for the eye, in KiB, MiB and so on: `0 B`, `812 B`, `1.5 KiB`, `64.0 MiB`."""
    if count < 1024:
        return f"{count} B"
    value = float(count)
    for unit in ("KiB", "MiB", "GiB", "TiB", "PiB"):
        value /= 1024
        if value < 1024 or unit == "PiB":
            return f"{value:.1f} {unit}"
    raise AssertionError("unreachable")


def format_time(at: int) -> str:
    """UTC with microseconds and `Z`: the form that every `--at` reads back exactly."""
    return (_EPOCH + timedelta(microseconds=at)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str, now: int) -> int:
    """A time as users write it, in microseconds.

    `2026-11-22T10:00:00Z`, with an offset, or local time without one; `-5m` counts back
    from `now`, which `now` is. `latest`, `point:` and `mark:` are no times: see `engine.model.points.parse_moment`.
    """
    if text == "now":
        return now
    relative = _RELATIVE.match(text)
    if relative:
        return now - parse_duration(relative.group(1))
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"'{text}' is not a time",
            hint="write 2026-11-22T10:00:00Z, 2026-11-22T10:00:00+01:00, a local time without a zone, -5m or now",
        ) from None
    if parsed.tzinfo is None:
        parsed = parsed.astimezone()
    return (parsed - _EPOCH) // timedelta(microseconds=1)
