"""A source as policies want it, and what protects it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.agent.source import Source


@dataclass(slots=True)
class Protected:
    """A source as desired, and the thread that protects it; None where there is no way to, `message` says why."""

    wanted: dict[str, Any]
    source: Source | None
    message: str = ""

    def row(self, stream: str) -> dict[str, Any]:
        """What the agent reports of it."""
        if self.source is None:
            return {"stream": stream, "state": "failed", "message": self.message}
        return self.source.report()


def same_scope(left: Mapping[str, Any], right: Mapping[str, Any]) -> bool:
    """Whether two of them protect the same files."""
    return all(left.get(name) == right.get(name) for name in ("kind", "paths", "exclude"))
