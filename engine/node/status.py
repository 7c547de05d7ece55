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

SILENT_AFTER = 5 * SECOND
"""Agents report every second; after five missed reports one is called silent."""


@dataclass(frozen=True, slots=True)
class Report:
    """What an agent last said of one source, and when the node heard it (microseconds)."""

    heard_at: int
    generation: int
    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stored:
    """What the node itself has of a stream: the newest point, complete-until, gaps, delays.

    `delays_ms` are those between a change being seen on its host and being durable here.
    """

    point: str | None = None
    point_at: int | None = None
    through_at: int | None = None
    last_change_at: int | None = None
    gaps: int = 0
    delays_ms: Sequence[float] = ()


def source_status(
    address: str, source: Mapping[str, Any], report: Report | None, stored: Stored, generation: int, now: int
) -> dict[str, Any]:
    """One row of `bcsctl status --json` (see docs/reference for the fields).

    `generation` is the one since which the source is as the policies say.
    """
    healthy = _healthy(report, now)
    body = report.body if report else {}
    rpo = parse_duration(source["rpo"])
    through_at = max((at for at in (stored.through_at, stored.point_at) if at is not None), default=None)
    lag = max(0, now - through_at) if through_at is not None else None
    open_gap = body.get("gap_from")
    return {
        "address": address,
        "synced": "synced" if report and report.generation >= generation and healthy == "healthy" else "drifted",
        "healthy": healthy,
        "protected": _protected(stored, body, healthy, lag, rpo),
        "state": body.get("state", "waiting"),
        "point": stored.point,
        "last_change_at": _time(stored.last_change_at),
        "through_at": _time(through_at),
        "lag_seconds": round(lag / 1e6, 3) if lag is not None else None,
        "rpo_target_seconds": rpo / 1e6,
        "gaps": stored.gaps + (1 if open_gap else 0),
        "gap_open_since": _time(open_gap),
        "pending": body.get("pending", 0),
        "unreadable": body.get("unreadable", 0),
        "unreadable_paths": body.get("unreadable_paths", []),
        "baseline": body.get("baseline") or {"files": 0, "bytes": 0, "done": stored.point is not None},
        "paths": list(source["paths"]),
        "mechanism": body.get("mechanism", ""),
        "costs": body.get("costs", ""),
        "message": body.get("message", ""),
        "durable_lag_ms": delays(stored.delays_ms),
    }


def _healthy(report: Report | None, now: int) -> str:
    if report is None:
        return "never-seen"
    if now - report.heard_at > SILENT_AFTER:
        return "silent"
    return "failing" if report.body.get("state") == "failed" else "healthy"


def _protected(stored: Stored, body: Mapping[str, Any], healthy: str, lag: int | None, rpo: int) -> str:
    if stored.point is None:
        return "catching-up" if body.get("state") == "baseline" else "unprotected"
    if body.get("state") in ("baseline", "catching-up") or body.get("gap_from"):
        return "catching-up"
    # A report comes every second, so a lag below that and the objective together is no miss.
    if lag is None or lag > rpo + 2 * SECOND or healthy != "healthy":
        return "unprotected"
    return "protected"


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
