"""A restore in place in JSON: what it would change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from engine.plan.in_place import Turn
from engine.recovery.in_place.prepare import Prepared
from engine.tree.paths import path_json

LISTED = 20
"""Of each kind of change so many paths are listed; all are counted."""


COUNTED = ("make", "rewrite", "attributes", "remove", "bytes")


def in_place_json(prepared: Prepared) -> dict[str, Any]:
    """How many paths of each kind, and the bytes (COUNTED); the first paths of each kind under `changes`."""
    plan = prepared.plan
    return {
        "make": len(plan.made) + len(plan.linked),
        "rewrite": len(plan.rewritten),
        "attributes": len(plan.changed),
        "remove": len(plan.removed) + len(plan.cleared),
        "bytes": prepared.bytes,
        "seconds_estimated": round(prepared.seconds_estimated, 1),
        "changes": _changes(prepared),
    }


def _changes(prepared: Prepared) -> Mapping[str, list[dict[str, str]]]:
    plan = prepared.plan
    return {
        "make": _paths((*plan.made, *(turn for turn, _ in plan.linked))),
        "change": _paths((*plan.rewritten, *plan.changed)),
        "remove": _paths((*plan.cleared, *plan.removed)),
    }


def _paths(turns: Iterable[Turn]) -> list[dict[str, str]]:
    return [path_json(turn.path) for turn in list(turns)[:LISTED]]
