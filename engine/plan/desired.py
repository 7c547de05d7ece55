"""What an agent is told of a source: the applied policy's record of it, in the form that agents obey. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from engine.model.times import SECOND, parse_duration

_WILD = re.compile(r"[*?\[\]\\]")


def for_agent(address: str, source: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON form of one source for its agent. `source` is what an apply recorded (`SourceSpec.as_json`).

    `exclude` holds the policy's patterns, as `engine.tree.match` reads them, and after them the
    ignored paths with their wildcards escaped.
    """
    return {
        "stream": source["stream"],
        "address": address,
        "kind": source["kind"],
        "paths": source["paths"],
        "exclude": [*source["exclude"], *(escaped(ignored["path"]) for ignored in source.get("ignore") or ())],
        "settings": source.get("settings") or {},
        "rpo_seconds": parse_duration(source["rpo"]) / SECOND,
        "crash_points": crash_points(source),
    }


def crash_points(source: Mapping[str, Any]) -> dict[str, Any]:
    """When and how crash points are taken: {every_seconds, freeze, hooks}; only on request where an older apply's
    record says nothing of it."""
    every, hooks = source.get("crashPointEvery"), source.get("hooks")
    return {
        "every_seconds": parse_duration(every) / SECOND if every else 0,
        "freeze": source.get("freeze") == "allowed",
        "hooks": {**hooks, "timeout_seconds": parse_duration(hooks["timeout"]) / SECOND} if hooks else None,
    }


def escaped(path: str) -> str:
    """A path as a pattern that matches only itself."""
    return _WILD.sub(r"\\\g<0>", path)
