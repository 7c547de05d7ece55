"""What this agent may use of its host, as its node tells it: asked at each use, so that a change needs no restart.

Times of a schedule are site time in the policies' time zone, or in the host's own. Where the host does not know that
zone the lowest bound holds all the time, and `message` says so.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from engine.model.policy.agents import (
    CACHE_DEFAULT,
    DAYS,
    MEMORY_LIMIT_DEFAULT,
    SPOOL_LIMIT_DEFAULT,
    Bound,
    Schedule,
    bound_at,
    read_schedule,
)
from engine.model.times import SECOND, format_size


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, paces in bytes a second; None for no pace of its own."""

    spool_limit_bytes: int = SPOOL_LIMIT_DEFAULT
    bandwidth: Schedule = ()
    baseline_bandwidth: Schedule = ()
    timezone: str = ""
    memory_limit_bytes: int = MEMORY_LIMIT_DEFAULT
    cache_bytes: int = CACHE_DEFAULT
    big_file_bytes_a_second: int | None = None


USUAL = Limits()


class InForce:
    """The limits that hold now. `now` is site time in microseconds. For any number of threads."""

    def __init__(self, otherwise: Limits, now: Callable[[], int]) -> None:
        """`otherwise` is what holds until a node says more, and with one that says nothing."""
        self.limits = self._otherwise = otherwise
        self._now = now
        self._lock = threading.Lock()
        self._asked: dict[Schedule, tuple[int, int | None]] = {}
        self._zone: tzinfo | None = None
        self.message = ""

    def tell(self, told: Mapping[str, Any] | None) -> bool:
        """Take over what a node said; whether anything changed. ValueError, and no change, for what makes no sense."""
        limits = self._otherwise if told is None else read_limits(told)
        changed = limits != self.limits
        with self._lock:
            self._asked.clear()
            self._zone, self.message = None, ""
            if limits.timezone:
                try:
                    self._zone = ZoneInfo(limits.timezone)
                except (ZoneInfoNotFoundError, OSError, ValueError):
                    self.message = f"no time zone {limits.timezone} is known here: the lowest bound holds all the time"
            self.limits = limits
        return changed

    def bandwidth(self) -> int | None:
        """Bytes a second that may be sent now; None for no bound."""
        return self._at(self.limits.bandwidth)

    def baseline_bandwidth(self) -> int | None:
        """The same for baselines, besides."""
        return self._at(self.limits.baseline_bandwidth)

    def _at(self, schedule: Schedule) -> int | None:
        if not schedule:
            return None
        if self.message:
            return min(bound.bytes_a_second for bound in schedule)
        second = self._now() // SECOND
        with self._lock:
            asked = self._asked.get(schedule)
            if asked is None or asked[0] != second:
                local = datetime.fromtimestamp(second, self._zone)
                asked = (second, bound_at(schedule, local.weekday(), local.hour * 60 + local.minute))
                self._asked[schedule] = asked
            return asked[1]


def read_limits(told: Mapping[str, Any]) -> Limits:
    """From what a node's desired document says under `agent`. ValueError, in words, for what makes no sense."""
    try:
        limits = Limits(
            int(told["spool_limit_bytes"]),
            read_schedule(told["bandwidth"]),
            read_schedule(told["baseline_bandwidth"]),
            str(told["timezone"]),
            int(told["memory_limit_bytes"]),
            int(told["cache_bytes"]),
            None if told["big_file_bytes_a_second"] is None else int(told["big_file_bytes_a_second"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the node's settings for agents make no sense: {error!r:.100}") from None
    if any(bound.bytes_a_second < 1 for bound in (*limits.bandwidth, *limits.baseline_bandwidth)):
        raise ValueError("the node's settings for agents make no sense: a bandwidth of nothing")
    return limits


def shown(limits: Limits) -> dict[str, Any]:
    """Fields for a line of the log."""
    bounds = {"bandwidth": limits.bandwidth, "baseline_bandwidth": limits.baseline_bandwidth}
    told = {name: "; ".join(map(in_words, schedule)) for name, schedule in bounds.items() if schedule}
    return {"spool_limit_bytes": limits.spool_limit_bytes, "cache_bytes": limits.cache_bytes, **told}


def rate_in_words(bytes_a_second: int | None) -> str:
    """`5.0 MiB/s`."""
    return f"{format_size(bytes_a_second)}/s" if bytes_a_second is not None else "no bound"


def in_words(bound: Bound) -> str:
    """`5.0 MiB/s mon,tue 08:00-18:00`."""
    rate = rate_in_words(bound.bytes_a_second)
    if bound.always:
        return rate
    days = ",".join(DAYS[day] for day in bound.days)
    return f"{rate} {days} {_clock(bound.begins)}-{_clock(bound.ends)}".replace("  ", " ")


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"
