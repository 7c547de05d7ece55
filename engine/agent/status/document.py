"""An agent's state as `--json` shows it: times in UTC, durations in seconds, as everywhere else. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.model.times import SECOND, format_time

_TIMES = (
    "at",
    "started_at",
    "heard_at",
    "issued_at",
    "not_after",
    "through_at",
    "last_change_at",
    "gap_from",
    "acknowledged_at",
)
_DURATIONS = ("lag", "rpo", "clock_skew")
_RATES = ("bandwidth", "baseline_bandwidth")


def document(state: Mapping[str, Any]) -> dict[str, Any]:
    """The same with other names for what has another unit: `lag_seconds`, `bandwidth_bytes_a_second`."""
    return dict(_field(name, value) for name, value in state.items())


def _field(name: str, value: Any) -> tuple[str, Any]:
    if isinstance(value, Mapping):
        return name, document(value)
    if isinstance(value, list):
        return name, [document(each) if isinstance(each, Mapping) else each for each in value]
    if name in _TIMES:
        return name, format_time(value) if value else None
    if name in _DURATIONS:
        return f"{name}_seconds", value if value is None else round(value / SECOND, 3)
    return (f"{name}_bytes_a_second" if name in _RATES else name), value
