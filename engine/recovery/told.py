"""A restore in JSON: what it would do, what it did, and what the audit keeps of it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from engine.model.points import point_json as point_json
from engine.model.times import format_time
from engine.query.unreadable import Stale
from engine.recovery.restoring import BYTES_A_SECOND, Outcome, Prepared
from engine.tree.paths import failures_json, path_json


def plan_json(prepared: Prepared, target: bytes, data: int | None = None) -> dict[str, Any]:
    """What a restore is about to make in the directory `target`; `data` of its bytes, where that is known: the rest is
    holes, which are not written."""
    plan = prepared.plan
    seconds = prepared.seconds_estimated - (0 if data is None else (plan.bytes - data) / BYTES_A_SECOND)
    return {
        **path_json(prepared.base),
        **path_json(target, "target"),
        "directories": len(plan.directories),
        "files": len(plan.files),
        "others": len(plan.others),
        "names": plan.names,
        "bytes": plan.bytes,
        **({} if data is None else {"data_bytes": data}),
        "seconds_estimated": round(seconds, 1),
        "unreadable": unreadable_json(prepared.unreadable),
    }


def outcome_json(outcome: Outcome) -> dict[str, Any]:
    """What a restore has made."""
    done = outcome.restored
    return {
        "files": done.files,
        "names": done.names,
        "bytes": done.bytes_written,
        "seconds": round(outcome.seconds, 3),
        "verified": outcome.verified,
        "read_back": outcome.read_back,
        "failures": failures_json(done.failures, outcome.differences),
        "shortfalls": list(done.shortfalls),
        "failures_count": len(done.failures) + len(outcome.differences),
        "shortfalls_count": len(done.shortfalls),
        "kept": done.kept,
        "kept_aside": [os.fsdecode(path) for path in done.kept_aside],
    }


def in_all(told: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Several plans, or several outcomes, as one: numbers add up, lists follow each other, all have to be verified."""
    summed: dict[str, Any] = {}
    for each in told:
        for name, value in each.items():
            if isinstance(value, bool):
                summed[name] = summed.get(name, True) and value
            elif isinstance(value, dict):
                summed[name] = in_all([summed.get(name, {}), value])
            elif isinstance(value, int | float | list):
                summed[name] = summed[name] + value if name in summed else value
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in summed.items()}


def plans_in_all(plans: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Several plans as one; without `data_bytes` where one has none: of some alone it would look like all."""
    plan = in_all(plans)
    if any("data_bytes" not in each for each in plans):
        plan.pop("data_bytes", None)
    return plan


def unreadable_json(found: Sequence[Stale]) -> list[dict[str, Any]]:
    """Paths of which older bytes are brought back, since when, and why."""
    return [{**path_json(each.path), "since": format_time(each.at), "reason": each.reason} for each in found]


def act_json(outcome: Mapping[str, Any]) -> dict[str, Any]:
    """An outcome as the audit keeps it: how many failed, and not which."""
    left_out = ("failures", "shortfalls", "failures_count", "shortfalls_count", "damaged", "kept_aside")
    kept = {name: value for name, value in outcome.items() if name not in left_out}
    return {**kept, "failures": outcome.get("failures_count", len(outcome.get("failures", ())))}
