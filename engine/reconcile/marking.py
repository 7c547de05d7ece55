"""Ask for a mark over every source of a group, and wait until each agent has set it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from engine.env.clock import Clock
from engine.env.endpoint import Endpoint, request_json

POLL_SECONDS = 0.1
WAIT_SECONDS_MAX = 1e9


def mark(
    node: Endpoint | Path,
    group: str,
    label: str,
    clock: Clock,
    wait_seconds: float,
    progress: Callable[[int, int], None],
    point_class: str = "",
    *,
    again: bool = False,
) -> list[dict[str, Any]]:
    """The marks asked for: {id, address, label, done, class, reason}. Returns when all are settled or the time is over.

    `point_class` `crash` has no other point will do: a mark that is not `done` then has a `reason`. By default the best
    point to be had is marked, and the reason says why it is no crash point; one that was not `done` when the time was
    over is not set later (unless `wait_seconds` is 0: then nobody waits). `progress` gets how many are settled and
    how many there are. NothingThere for an unknown group, Refused for a label that it has already, unless `again`.
    """
    body: dict[str, Any] = {
        "group": group,
        "label": label,
        "wait_ms": math.ceil(min(wait_seconds, WAIT_SECONDS_MAX) * 1000),
    }
    body |= {"class": point_class} if point_class else {}
    if again:
        body["again"] = True
    asked = request_json(node, "POST", "/v1/marks", body)["marks"]
    marks: list[dict[str, Any]] = [
        {"id": one["id"], "address": one["address"], "label": label, "done": False, "class": None, "reason": None}
        for one in asked
    ]
    settled: set[str] = set()
    ends = clock.monotonic() + wait_seconds
    while True:
        for one in marks:
            if one["id"] not in settled:
                told = request_json(node, "GET", f"/v1/marks/{quote(one['id'], safe='')}")
                if told["done"]:
                    settled.add(one["id"])
                    one["class"], one["reason"] = told.get("class") or None, told.get("reason") or None
                    one["done"] = (
                        one["class"] == point_class if point_class else bool(one["class"] or not one["reason"])
                    )
        progress(len(settled), len(marks))
        if len(settled) == len(marks) or clock.monotonic() >= ends:
            return marks
        clock.sleep(POLL_SECONDS)
