"""What an agent says of its sources each second, read strictly: one wrong row refuses the whole report.

A report is shown to people again and again. A value in it that can't be shown must not get in, and an agent whose
reports are refused is soon called silent, which is what it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.model.errors import UsageError
from engine.node.api import fields
from engine.node.monitoring.status import WAITING

SOURCES_MAX = 10_000
MARKS_MAX = 10_000
CPU_SECONDS_MAX = 1e12
_WORD_CHARS = 40
_MESSAGE_CHARS = 2_000
_UNREADABLE_SHOWN_MAX = 100
_PATH_CHARS = 20_000
"""A path of 4096 bytes, each of them escaped."""

TRAFFIC = ("bytes_read", "bytes_changed", "bytes_sent")
"""What an agent counts of each source since it started."""

AGENTS_A_SECOND = 250
EVERY_SECONDS_MAX = 2.0
"""With more between two reports, one that is lost would make an agent look silent."""


def every_seconds(agents: int) -> float:
    """How often agents without news are to report: each second, more rarely where they are many."""
    return min(max(1.0, agents / AGENTS_A_SECOND), EVERY_SECONDS_MAX)


def read_sources(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of a report, each with `stream` and `state`. Raises UsageError; unknown fields are left out."""
    return [_row(row) for row in fields.objects(report, "sources", count_max=SOURCES_MAX)]


def read_marks_done(report: Mapping[str, Any]) -> list[str]:
    return fields.texts(report, "marks_done", count_max=MARKS_MAX, chars_max=_WORD_CHARS)


def read_marks_told(report: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Of marks that are done, by id: the `class` of their point and a `reason`."""
    told = fields.mapping(report, "marks_told", {})
    if len(told) > MARKS_MAX:
        raise UsageError(f"'marks_told' holds {len(told)} marks, more than {MARKS_MAX}")
    return {
        mark[:_WORD_CHARS]: {
            "class": fields.text(fields.mapping(told, mark), "class", "", chars_max=_WORD_CHARS),
            "reason": fields.text(fields.mapping(told, mark), "reason", "")[:_MESSAGE_CHARS],
        }
        for mark in told
    }


def _crash_point(row: Mapping[str, Any]) -> dict[str, Any]:
    told = fields.mapping(row, "crash_point", {})
    return {
        "at": fields.time_or_none(told, "at"),
        "how": fields.text(told, "how", "", chars_max=_WORD_CHARS),
        "message": fields.text(told, "message", "")[:_MESSAGE_CHARS],
    }


def read_clock_skew(report: Mapping[str, Any]) -> int | None:
    """Microseconds that the host's wall clock is ahead of site time; None from an agent that does not say."""
    if report.get("clock_skew") is None:
        return None
    return fields.whole(report, "clock_skew", low=-fields.TIME_MAX, high=fields.TIME_MAX)


_SCRATCHES_MAX = 50
_CODE_MAX = 1 << 16
USAGE = ("memory_bytes", "memory_limit_bytes", "spool_bytes", "spool_limit_bytes", "cache_bytes")


def read_usage(report: Mapping[str, Any]) -> dict[str, Any] | None:
    """What an agent uses and may use: sizes, `cpu_seconds` since it began, `bandwidth` now in bytes a second or None
    for no bound, `message` where it can't keep to what it is told. None from an agent that does not say."""
    told = fields.mapping(report, "usage", {})
    if not told:
        return None
    seconds = told.get("cpu_seconds")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= CPU_SECONDS_MAX:
        raise fields.wrong("cpu_seconds", seconds, "a time in seconds")
    return {
        **{name: fields.whole(told, name, 0) for name in USAGE},
        "cpu_seconds": float(seconds),
        "bandwidth": None if told.get("bandwidth") is None else fields.whole(told, "bandwidth"),
        "message": fields.text(told, "message", "")[:_MESSAGE_CHARS],
    }


def read_scratches(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a host has in scratch: engine.tree.scratch.place.as_json, and `restore`, by which it was made."""
    return [
        {
            **{name: fields.label(row, name, chars_max=_WORD_CHARS) for name in ("id", "state", "restore")},
            "tree": fields.text(row, "tree", chars_max=_PATH_CHARS),
            "made_at": fields.text(row, "made_at", "", chars_max=_WORD_CHARS),
            **{name: fields.whole(row, name, 0) for name in ("files", "bytes", "changed")},
            "checks": [
                {
                    "command": fields.text(check, "command", "")[:_MESSAGE_CHARS],
                    "code": fields.whole(check, "code", 0, low=-_CODE_MAX, high=_CODE_MAX),
                }
                for check in fields.objects(row, "checks", count_max=_SCRATCHES_MAX)
            ],
        }
        for row in fields.objects(report, "scratches", count_max=_SCRATCHES_MAX)
    ]


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "stream": fields.label(row, "stream", chars_max=_WORD_CHARS),
        "state": fields.label(row, "state", chars_max=_WORD_CHARS),
        "mechanism": fields.text(row, "mechanism", "", chars_max=_WORD_CHARS),
        "costs": fields.text(row, "costs", "", chars_max=_MESSAGE_CHARS),
        "message": fields.text(row, "message", "")[:_MESSAGE_CHARS],
        "through_at": fields.time_or_none(row, "through_at"),
        "last_change_at": fields.time_or_none(row, "last_change_at"),
        "crash_point": _crash_point(row),
        "gap_from": fields.time_or_none(row, "gap_from"),
        "pending": fields.whole(row, "pending", 0),
        "ranges": fields.text(row, "ranges", "", chars_max=_WORD_CHARS),
        "gap_reason": fields.text(row, "gap_reason", "")[:_MESSAGE_CHARS],
        **{name: fields.whole(row, name, 0) for name in WAITING},
        **{name: fields.whole(row, name, 0) for name in TRAFFIC},
        "unreadable": fields.whole(row, "unreadable", 0),
        "unreadable_paths": _unreadable_paths(row),
        "baseline": _baseline(row),
    }


def _unreadable_paths(row: Mapping[str, Any]) -> list[dict[str, str]]:
    """[{path, reason}], the first of what the agent could not read."""
    return [
        {"path": fields.text(each, "path", chars_max=_PATH_CHARS), "reason": fields.text(each, "reason", "")}
        for each in fields.objects(row, "unreadable_paths", count_max=_UNREADABLE_SHOWN_MAX)
    ]


def _baseline(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """{files, bytes, done}, and the totals once they are known; None when the agent says nothing of it."""
    told = fields.mapping(row, "baseline", {})
    if not told:
        return None
    baseline: dict[str, Any] = {name: fields.whole(told, name, 0) for name in ("files", "bytes")}
    for name in ("files_total", "bytes_total"):
        if told.get(name) is not None:
            baseline[name] = fields.whole(told, name)
    return {**baseline, "done": told.get("done") is True}
