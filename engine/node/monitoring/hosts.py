"""One row a host: what its agent is, how its sources are, how long its certificate holds. Pure.

A host is as bad as its worst source, and silent when its agent is, whatever that said last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.model.times import format_time
from engine.node.monitoring.status import CONDITIONS, SAFE, SILENT_AFTER

STATES = ("refused", "never-seen", "silent", "failing", "lagging", "unprotected", "catching-up", "unknown", "healthy")
"""What a host can be, worst first."""

_STATE_OF = {"protected": "healthy", "unproven": "healthy", "baseline": "catching-up"}


@dataclass(frozen=True, slots=True)
class Certified:
    """The newest certificate that a site gave a host. Times in microseconds, `revoked_at` None if it was not,
    `not_after` None where a node knows no more than that it was revoked."""

    serial: str
    not_after: int | None
    revoked_at: int | None = None

    def refused_since(self, now: int) -> int | None:
        """Since when the host is turned away with it; None as long as it is not."""
        if self.revoked_at is not None and self.revoked_at <= now:
            return self.revoked_at
        return self.not_after if self.not_after is not None and self.not_after <= now else None


@dataclass(frozen=True, slots=True)
class Heard:
    """What a host's agent last said of itself. `clock_skew`: microseconds that its wall clock is ahead of the site."""

    at: int
    version: str = ""
    mechanism: str = ""
    clock_skew: int | None = None
    settings: str = ""
    usage: Mapping[str, Any] | None = None


def host_status(
    host: str, rows: Sequence[Mapping[str, Any]], heard: Heard | None, certified: Certified | None, now: int
) -> dict[str, Any]:
    """One row of `bcsctl status --hosts`; `rows` are those of the host's sources (`source_status`)."""
    state, since = _state(rows, heard, certified, now)
    of_sources = max((row["heard_at"] for row in rows if row["heard_at"]), default=None)
    skew = heard.clock_skew if heard else None
    return {
        "host": host,
        "state": state,
        "since": since,
        "version": heard.version if heard else "",
        "mechanism": heard.mechanism if heard else "",
        "settings": heard.settings if heard else "",
        "heard_at": format_time(heard.at) if heard else of_sources,
        "clock_skew_seconds": round(skew / 1e6, 3) if skew is not None else None,
        "usage": _usage(heard.usage) if heard and heard.usage else None,
        "sources": len(rows),
        "sources_protected": sum(row["protected"] in SAFE for row in rows),
        "certificate": {
            "serial": certified.serial,
            "not_after": format_time(certified.not_after) if certified.not_after is not None else None,
            "revoked_at": format_time(certified.revoked_at) if certified.revoked_at is not None else None,
        }
        if certified
        else None,
    }


def _usage(told: Mapping[str, Any]) -> dict[str, Any]:
    """What an agent uses, with the units in the names."""
    rest = {name: value for name, value in told.items() if name != "bandwidth"}
    return {**rest, "bandwidth_bytes_a_second": told["bandwidth"]}


def _state(
    rows: Sequence[Mapping[str, Any]], heard: Heard | None, certified: Certified | None, now: int
) -> tuple[str, str | None]:
    """(one of STATES, since when that is so where it is known)."""
    if rows:
        worst = min(rows, key=lambda row: (CONDITIONS.index(row["condition"]), row["since"] or "~"))
        since = None if worst["condition"] in SAFE else worst["since"]
        return _STATE_OF.get(worst["condition"], worst["condition"]), since
    refused = certified.refused_since(now) if certified else None
    turned_away = refused is not None and heard is not None and heard.at < refused
    if heard is not None and now - heard.at <= SILENT_AFTER and not turned_away:
        return "healthy", None
    if refused is not None:
        return "refused", format_time(refused)
    return ("silent", format_time(heard.at)) if heard else ("never-seen", None)
