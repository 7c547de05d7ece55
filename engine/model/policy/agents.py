"""What agents may use of their hosts, and how fast they may send at which time of the week. Values and a pure decision.

A schedule is a list of bounds, of which the first that holds counts; where none holds there is no bound. Times are
those of a clock on a wall: an hour that daylight saving skips never comes, one that it repeats holds twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from engine.model.times import parse_size

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MINUTES_A_DAY = 24 * 60
SPOOL_LIMIT_DEFAULT = 10 << 30
MEMORY_LIMIT_DEFAULT = 1 << 30
CACHE_DEFAULT = 64 << 20
CPU_WEIGHT_DEFAULT, IO_WEIGHT_DEFAULT = 20, 50


@dataclass(frozen=True, slots=True)
class Bound:
    """At most so many bytes a second from minute `begins` of a day up to minute `ends`, of the next day where that is
    not later. `days` are those that it begins on, 0 for Monday; none: every day."""

    bytes_a_second: int
    begins: int = 0
    ends: int = MINUTES_A_DAY
    days: tuple[int, ...] = ()

    @property
    def always(self) -> bool:
        return (self.begins, self.ends) == (0, MINUTES_A_DAY) and len(set(self.days)) in (0, len(DAYS))

    def holds(self, day: int, minute: int) -> bool:
        """Whether it does at this minute of a day of the week."""
        if self.begins < self.ends:
            return self._begins_on(day) and self.begins <= minute < self.ends
        if minute >= self.begins:
            return self._begins_on(day)
        return minute < self.ends and self._begins_on((day - 1) % len(DAYS))

    def _begins_on(self, day: int) -> bool:
        return not self.days or day in self.days


Schedule = tuple[Bound, ...]


def bound_at(schedule: Sequence[Bound], day: int, minute: int) -> int | None:
    """Bytes a second at this minute (0 to 1439) of a day of the week (0 is Monday); None for no bound."""
    return next((bound.bytes_a_second for bound in schedule if bound.holds(day, minute)), None)


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """What agents of a site may use: sizes in bytes, paces in bytes a second, weights as systemd's (100 is usual).

    `timezone` is that of the schedules, empty for the host's own. `baseline_bandwidth` bounds what a baseline sends,
    besides `bandwidth`. `hosts` is a pattern of those that get an agent to restore to, though nothing on them is
    protected.
    """

    spool_limit: int = SPOOL_LIMIT_DEFAULT
    bandwidth: Schedule = ()
    baseline_bandwidth: Schedule = ()
    timezone: str = ""
    memory_limit: int = MEMORY_LIMIT_DEFAULT
    cache: int = CACHE_DEFAULT
    big_file_pace: int | None = None
    cpu_weight: int = CPU_WEIGHT_DEFAULT
    io_weight: int = IO_WEIGHT_DEFAULT
    hosts: str = ""

    def as_json(self) -> dict[str, Any]:
        """What running agents are told and obey at once: all but what bounds their service from outside."""
        return {
            "spool_limit_bytes": self.spool_limit,
            "bandwidth": [asdict(bound) for bound in self.bandwidth],
            "baseline_bandwidth": [asdict(bound) for bound in self.baseline_bandwidth],
            "timezone": self.timezone,
            "memory_limit_bytes": self.memory_limit,
            "cache_bytes": self.cache,
            "big_file_bytes_a_second": self.big_file_pace,
        }


USUAL = AgentSettings()


def agent_settings(raw: Mapping[str, Any]) -> AgentSettings:
    """From `spec.agent` of a valid Site document."""
    pace = raw.get("bigFilePace")
    return AgentSettings(
        spool_limit=parse_size(raw["spoolLimit"]) if "spoolLimit" in raw else SPOOL_LIMIT_DEFAULT,
        bandwidth=schedule(raw.get("bandwidth", ())),
        baseline_bandwidth=schedule(raw.get("baselineBandwidth", ())),
        timezone=raw.get("timezone", ""),
        memory_limit=parse_size(raw["memoryLimit"]) if "memoryLimit" in raw else MEMORY_LIMIT_DEFAULT,
        cache=parse_size(raw["cache"]) if "cache" in raw else CACHE_DEFAULT,
        big_file_pace=parse_rate(pace) if pace else None,
        cpu_weight=raw.get("cpuWeight", CPU_WEIGHT_DEFAULT),
        io_weight=raw.get("ioWeight", IO_WEIGHT_DEFAULT),
        hosts=raw.get("hosts", ""),
    )


def schedule(raw: str | Iterable[Mapping[str, Any]]) -> Schedule:
    """From a rate, or a list of {from, to, days, limit}, as policies have them."""
    if isinstance(raw, str):
        return (Bound(parse_rate(raw)),)
    return tuple(
        Bound(
            parse_rate(entry["limit"]),
            parse_minute(entry.get("from", "00:00")),
            parse_minute(entry.get("to", "24:00")),
            tuple(DAYS.index(day) for day in entry.get("days", ())),
        )
        for entry in raw
    )


def parse_rate(text: str) -> int:
    """`50MiB/s` as bytes a second. UsageError for what is no size."""
    return parse_size(text.removesuffix("/s"))


def parse_minute(text: str) -> int:
    """`08:30` as minutes since midnight; `24:00` is the end of the day."""
    hours, _, minutes = text.partition(":")
    return int(hours) * 60 + int(minutes)


def settings_of(documents: Mapping[str, Mapping[str, Any]], site: str) -> AgentSettings:
    """What agents of a site may use by applied documents ({KIND/NAME: document}); the defaults without its own."""
    spec = (documents.get(f"Site/{site}") or {}).get("spec") or {}
    return agent_settings(spec.get("agent") or {})


def read_schedule(told: Iterable[Mapping[str, Any]]) -> Schedule:
    """From the form of `AgentSettings.as_json`. KeyError, TypeError or ValueError for another."""
    return tuple(
        Bound(int(each["bytes_a_second"]), int(each["begins"]), int(each["ends"]), tuple(map(int, each["days"])))
        for each in told
    )
