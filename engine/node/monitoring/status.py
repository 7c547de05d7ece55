"""Three axes a source, never mixed: synced (policy), healthy (agent), protected (data). Pure.

The node judges by what it has itself and by when it last heard, so that a silent agent can't
look well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import quantiles
from typing import Any

from engine.model.times import SECOND, format_time, parse_duration
from engine.plan.drills import NO_DRILLS, Standing

SILENT_AFTER = 5 * SECOND
"""Agents report every second, or every two where they are many (engine.node.reports)."""

GRACE = 3 * SECOND
"""A report comes every second or two, so a lag below this and the objective together is no miss."""

CONDITIONS = (
    "refused",
    "never-seen",
    "silent",
    "failing",
    "lagging",
    "unprotected",
    "baseline",
    "catching-up",
    "unproven",
    "unknown",
    "protected",
)
"""One word for a source, worst first: what to look at next. The three axes say the rest."""

SAFE = ("protected", "unproven")
"""Words of the axis `protected` under which the data is within its objective; unproven: no drill shows that it can be
had back."""


@dataclass(frozen=True, slots=True)
class Report:
    """What an agent last said of one source, and when the node heard it (microseconds)."""

    heard_at: int
    generation: int
    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stored:
    """What the node itself has of a stream: the newest point, complete-until, gaps, delays.

    `delays_ms` are those between a change being seen on its host and being durable here. `heard_at` is the last sign
    of the source's agent that the journal holds, for a node that has not heard of it since it started. `traffic` holds
    counts of bytes by name. `gaps_beside` are those of what the history has left (engine.query.branches).
    """

    point: str | None = None
    point_at: int | None = None
    through_at: int | None = None
    last_change_at: int | None = None
    gaps: int = 0
    delays_ms: Sequence[float] = ()
    heard_at: int | None = None
    traffic: Mapping[str, int] = field(default_factory=dict)
    gaps_beside: int = 0


WAITING = ("spool_bytes", "pending_big_files", "pending_big_bytes")
TRAFFIC = ("bytes_read", "bytes_changed", "bytes_sent", "bytes_stored")


def source_status(
    address: str,
    source: Mapping[str, Any],
    report: Report | None,
    stored: Stored,
    generation: int,
    now: int,
    *,
    refused_since: int | None = None,
    expected_since: int | None = None,
    drilled: Standing = NO_DRILLS,
) -> dict[str, Any]:
    """One row of `bcsctl status --json`.

    `generation` is the one since which the source is as the policies say, `expected_since` when they began to name it.
    `drilled` is what the drills make of its group.
    `refused_since`: when the certificate of its host was revoked or ended, unless it has another.
    """
    heard_at = report.heard_at if report else stored.heard_at
    healthy = _healthy(report, heard_at, refused_since, now)
    body = report.body if report else {}
    rpo = parse_duration(source["rpo"])
    # A fuzzy point's own time says nothing: what happened during its look may be missing there.
    through_at = stored.through_at if stored.through_at is not None else stored.point_at
    lag = max(0, now - through_at) if through_at is not None else None
    open_gap = body.get("gap_from")
    protected = _protected(stored, body, healthy, lag, rpo, drilled)
    condition = _condition(healthy, protected, str(body.get("state", "")), lag, rpo)
    begun: dict[str, int | None] = {"unproven": drilled.since}
    begun |= {"refused": refused_since, "never-seen": expected_since, "silent": heard_at, "lagging": through_at}
    since = open_gap if condition == "catching-up" else begun.get(condition)
    return {
        "address": address,
        "synced": "synced" if report and report.generation >= generation and healthy == "healthy" else "drifted",
        "healthy": healthy,
        "protected": protected,
        "condition": condition,
        "drill": drilled.state,
        "drill_reason": drilled.reason,
        "since": _time(since),
        "heard_at": _time(heard_at),
        "expected_since": _time(expected_since),
        "state": body.get("state", "waiting"),
        "point": stored.point,
        "last_change_at": _time(stored.last_change_at),
        "crash_point": _crash_point(body.get("crash_point") or {}),
        "through_at": _time(through_at),
        "lag_seconds": round(lag / 1e6, 3) if lag is not None else None,
        "rpo_target_seconds": rpo / 1e6,
        "gaps": stored.gaps + (1 if open_gap else 0),
        "gaps_beside": stored.gaps_beside,
        "gap_open_since": _time(open_gap),
        "gap_open_reason": body.get("gap_reason", "") if open_gap else "",
        "pending": body.get("pending", 0),
        **{name: body.get(name, 0) for name in WAITING},
        **{name: stored.traffic.get(name, 0) for name in TRAFFIC},
        "unreadable": body.get("unreadable", 0),
        "unreadable_paths": body.get("unreadable_paths", []),
        "baseline": body.get("baseline") or {"files": 0, "bytes": 0, "done": stored.point is not None},
        "paths": list(source["paths"]),
        "labels": dict(source.get("labels") or {}),
        "mechanism": body.get("mechanism", ""),
        "ranges": body.get("ranges", ""),
        "costs": body.get("costs", ""),
        "message": body.get("message", ""),
        "durable_lag_ms": delays(stored.delays_ms),
    }


def _crash_point(told: Mapping[str, Any]) -> dict[str, Any]:
    """The newest crash point as the agent says, and why the last that was wanted could not be had."""
    return {"at": _time(told.get("at")), "how": told.get("how") or None, "message": told.get("message", "")}


def _healthy(report: Report | None, heard_at: int | None, refused_since: int | None, now: int) -> str:
    turned_away = refused_since is not None and (heard_at is None or heard_at < refused_since)
    if report is not None and now - report.heard_at <= SILENT_AFTER and not turned_away:
        return "failing" if report.body.get("state") == "failed" else "healthy"
    if refused_since is not None:
        return "refused"
    return "never-seen" if heard_at is None else "silent"


def _protected(
    stored: Stored, body: Mapping[str, Any], healthy: str, lag: int | None, rpo: int, drilled: Standing
) -> str:
    if stored.point is None:
        return "catching-up" if body.get("state") == "baseline" else "unprotected"
    if body.get("state") in ("baseline", "catching-up") or body.get("gap_from"):
        return "catching-up"
    if lag is None or lag > rpo + GRACE or healthy != "healthy":
        return "unprotected"
    return "protected" if drilled.proven else "unproven"


def _condition(healthy: str, protected: str, state: str, lag: int | None, rpo: int) -> str:
    if healthy != "healthy":
        return healthy
    if protected == "catching-up":
        return "baseline" if state == "baseline" else "catching-up"
    if protected in SAFE:
        return protected
    return "lagging" if lag is not None and lag > rpo + GRACE else "unprotected"


def delays(values: Sequence[float]) -> dict[str, float | None]:
    """{median, p99} in milliseconds; None without a value."""
    if not values:
        return {"median": None, "p99": None}
    if len(values) == 1:
        return {"median": round(values[0], 1), "p99": round(values[0], 1)}
    cuts = quantiles(values, n=100, method="inclusive")
    return {"median": round(cuts[49], 1), "p99": round(cuts[98], 1)}


def _time(at: int | None) -> str | None:
    return format_time(at) if at else None
