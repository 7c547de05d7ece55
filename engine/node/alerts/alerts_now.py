"""What is the matter at a site now, in plain sentences, out of its status and what the node knows beside it. Pure.

An agent's host counts once, however many sources it has. Times in the sentences are UTC and say so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from engine.model.times import DAY, MINUTE, SECOND, SKEW_TOLD, format_about, format_size, format_time, parse_time
from engine.node.monitoring.status import GRACE
from engine.node.monitoring.summary import WORDS
from engine.node.sync import Sync
from engine.plan.alerts import Alert
from engine.plan.drills import FAILED, STALE

GAP, RPO_MISSED, AGENT_SILENT = "gap", "rpo-missed", "agent-silent"
VERIFY_FAILED, DRILL_FAILED, CONTROL_CHANGED = "verify-failed", "drill-failed", "control-changed"
CERTIFICATE_EXPIRING, DISK_LOW, APPLY_FAILED, DRIFT = "certificate-expiring", "disk-low", "apply-failed", "drift"
CLOCK_SKEW, SPOOL_FILLING = "clock-skew", "spool-filling"
EVENTS = (
    GAP, RPO_MISSED, AGENT_SILENT, VERIFY_FAILED, DRILL_FAILED, CONTROL_CHANGED, CERTIFICATE_EXPIRING, DISK_LOW,
    APPLY_FAILED, DRIFT, CLOCK_SKEW, SPOOL_FILLING,
)  # fmt: skip

OVER = {
    GAP: "the gap is closed, its data is complete again",
    RPO_MISSED: "its data is within its objective again",
    AGENT_SILENT: "its agent is back",
    VERIFY_FAILED: "a check found no error",
    DRILL_FAILED: "no failed drill stands against it any more",
    CERTIFICATE_EXPIRING: "it has a certificate that holds",
    DISK_LOW: "its disk has room again",
    APPLY_FAILED: "the repository is applied again",
    CLOCK_SKEW: "its clock is right again",
    SPOOL_FILLING: "its spool has room again",
}
"""What is said when a matter has ended."""

NO_POINT_AFTER = 15 * MINUTE
"""A source that has no recovery point this long after policies began to name it has missed its objective."""

CERTIFICATE_SOON = DAY
CERTIFICATE_SOON_SHARE = 6
"""Agents renew when a third of a certificate's life is left; less than a sixth, or a day, means that they don't."""

DISK_FREE_SHARE_MIN = 0.05
SPOOL_SHARE_MAX = 0.8
_SILENT = ("silent", "never-seen", "refused")


@dataclass(frozen=True, slots=True)
class Disk:
    """The file system of a local journal, in bytes."""

    free: int
    size: int


@dataclass(frozen=True, slots=True)
class Beside:
    """What a status does not tell. `certificate_seconds` is how long the site's certificates hold."""

    certificate_seconds: int
    sync: Sync | None = None
    disk: Disk | None = None


def alerts_in(found: Mapping[str, Any], beside: Beside) -> dict[str, Alert]:
    """What is the matter by key (`Alert.key`); `found` is what `monitoring.overview.site_status` answers."""
    now = parse_time(found["at"], 0)
    alerts: list[Alert] = []
    for group in found["groups"]:
        for row in group["sources"]:
            alerts += _of_source(row, now)
        alerts += _of_drills(group, now)
    for host in found["hosts"]:
        alerts += _of_host(host, beside.certificate_seconds, now)
        alerts += _of_agent(host, now)
    alerts += _of_site(beside, now)
    return {alert.key: alert for alert in alerts}


def utc(at: int) -> str:
    """A time for people far away: `2026-11-22 12:00:00 UTC`."""
    return format_time(at)[:19].replace("T", " ") + " UTC"


def gap_text(since: int, until: int, reason: str) -> str:
    """What is said of a gap that came and went."""
    why = f" ({reason})" if reason else ""
    return f"changes between {utc(since)} and {utc(until)} may have been missed{why}"


def _of_source(row: Mapping[str, Any], now: int) -> Iterator[Alert]:
    address, lag = row["address"], row["lag_seconds"]
    if row["gap_open_since"] is not None:
        since = parse_time(row["gap_open_since"], now)
        yield Alert(GAP, address, since, f"a gap is open: changes since {utc(since)} may have been missed")
    if lag is not None and lag * SECOND > row["rpo_target_seconds"] * SECOND + GRACE:
        since = now - round(lag * SECOND)
        rpo = format_about(round(row["rpo_target_seconds"] * SECOND))
        yield Alert(RPO_MISSED, address, since, f"its data is complete until {utc(since)} only; its objective is {rpo}")
    elif lag is None and row["condition"] != "baseline" and row.get("expected_since") is not None:
        since = parse_time(row["expected_since"], now)
        if now - since > max(NO_POINT_AFTER, round(row["rpo_target_seconds"] * SECOND)):
            yield Alert(
                RPO_MISSED, address, since, f"it has no recovery point, though policies name it since {utc(since)}"
            )


def _of_drills(group: Mapping[str, Any], now: int) -> Iterator[Alert]:
    """A drill that failed, or that is not made any more. One that was never made, or that a change of the policy has
    voided, is due at once, and no matter unless something keeps the node from it."""
    told = group.get("drill")
    if told and (told["state"] in (FAILED, STALE) or told["overdue"]):
        since = parse_time(told["since"], now) if told["since"] else now
        yield Alert(DRILL_FAILED, group["name"], since, told["reason"])


def _of_host(row: Mapping[str, Any], certificate_seconds: int, now: int) -> Iterator[Alert]:
    host, state, certificate = row["host"], row["state"], row["certificate"]
    if state in _SILENT and row["sources"]:
        since = parse_time(row["since"], now) if row["since"] else now
        if state != "never-seen" or now - since > NO_POINT_AFTER:
            yield Alert(AGENT_SILENT, host, since, f"{WORDS[state]} since {utc(since)}")
    if certificate is not None and certificate["revoked_at"] is None and certificate["not_after"] is not None:
        ends = parse_time(certificate["not_after"], now)
        soon = min(CERTIFICATE_SOON, certificate_seconds * SECOND // CERTIFICATE_SOON_SHARE)
        if now < ends < now + soon and row["sources"]:
            yield Alert(CERTIFICATE_EXPIRING, host, ends - soon, f"its certificate ends at {utc(ends)}, not renewed")


def _of_agent(row: Mapping[str, Any], now: int) -> Iterator[Alert]:
    """What an agent that is heard says of its host."""
    skew, usage = row.get("clock_skew_seconds"), row.get("usage")
    if row["state"] in _SILENT:
        return
    if skew is not None and abs(skew) * SECOND > SKEW_TOLD:
        off = f"{format_about(round(abs(skew) * SECOND))} {'ahead of' if skew > 0 else 'behind'}"
        yield Alert(CLOCK_SKEW, row["host"], now, f"its clock is {off} the site's")
    if usage is not None and usage["spool_bytes"] > usage["spool_limit_bytes"] * SPOOL_SHARE_MAX:
        held = f"{format_size(usage['spool_bytes'])} of {format_size(usage['spool_limit_bytes'])}"
        yield Alert(SPOOL_FILLING, row["host"], now, f"its spool holds {held}; what comes when it is full is a gap")


def _of_site(beside: Beside, now: int) -> Iterator[Alert]:
    sync, disk = beside.sync, beside.disk
    if sync is not None and sync.state == "failed":
        since = sync.failing_since or sync.heard_at
        why = f": {sync.message}" if sync.message else ""
        yield Alert(APPLY_FAILED, "policies", since, f"the repository is not applied since {utc(since)}{why}")
    if disk is not None and disk.size and disk.free < disk.size * DISK_FREE_SHARE_MIN:
        left = f"{format_size(disk.free)} of {format_size(disk.size)}"
        yield Alert(DISK_LOW, "journal", now, f"its disk has {left} left; when it is full nothing more is protected")
