"""What the policy wants of a source's crash points, as the desired document has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Wanted:
    """`every_seconds` 0: only when asked for. `freeze`: whether the file systems may be frozen for seconds."""

    every_seconds: float = 0.0
    freeze: bool = False
    before: str = ""
    after: str = ""
    hook_seconds: float = 60.0


def wanted_in(source: Mapping[str, Any]) -> Wanted:
    """From a source of the desired document; a node that says nothing of it wants none."""
    told = source.get("crash_points") or {}
    hooks = told.get("hooks") or {}
    return Wanted(
        float(told.get("every_seconds") or 0.0),
        bool(told.get("freeze")),
        str(hooks.get("before") or ""),
        str(hooks.get("after") or ""),
        float(hooks.get("timeout_seconds") or 60.0),
    )
