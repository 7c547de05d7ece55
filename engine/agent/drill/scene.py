"""What a host is asked to drill, and where it does it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.agent.drill.client import DrillClient
from engine.env.clock import SYSTEM, Clock
from engine.model.errors import Refused


@dataclass(frozen=True, slots=True)
class Drill:
    """What the node asks for: `how` is {group, at, scratch, sources: [{id, host, name}], checks: [{name, command,
    timeout_seconds}], on_demand}; the last is what becomes of trees that are used while they are cold, empty for a
    restore."""

    id: str
    how: Mapping[str, Any]

    @property
    def sources(self) -> Sequence[Mapping[str, Any]]:
        return list(self.how["sources"])

    @property
    def on_demand(self) -> str:
        return str(self.how.get("on_demand") or "")


@dataclass(frozen=True, slots=True)
class Scene:
    """Where it is made: `place` is a new directory for it alone. `client` gives one for a source's id, or for none;
    `own` and `protected` are paths that nothing may be restored to. `told` says to fillers of trees on demand where
    the node is, and who makes the drill: {home, host, socket, nodes, run}."""

    place: Path
    client: Callable[[str], DrillClient]
    stopping: threading.Event
    own: Sequence[bytes] = ()
    protected: Sequence[bytes] = ()
    told: Mapping[str, Any] | None = None
    clock: Clock = SYSTEM


def content_of(place: Path, source: Mapping[str, Any]) -> Path:
    """Where a source lies in a drill's directory."""
    return place / "content" / _part(source["host"]) / _part(source["name"])


def directory_of(drill: Drill, place: Path) -> Path:
    """Where commands run: in the only source, or in a directory with HOST/SOURCE of each."""
    if len(drill.sources) == 1:
        return content_of(place, drill.sources[0])
    return place / "content"


def _part(name: object) -> str:
    """A host's or a source's name as one part of a path."""
    text = str(name)
    if text in ("", ".", "..") or "/" in text or "\0" in text:
        raise Refused(f"'{text[:100]}' is no name of a host or a source")
    return text
