"""Ask for a mark over every source of a group, and wait until each agent has set it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from engine.env.clock import Clock
from engine.env.endpoint import Endpoint, request_json

POLL_SECONDS = 0.1


def mark(
    node: Endpoint | Path,
    group: str,
    label: str,
    clock: Clock,
    wait_seconds: float,
    progress: Callable[[int, int], None],
) -> list[dict[str, Any]]:
    """The marks asked for: {id, address, label, done}. Returns when all are done or the time is over.

    `progress` gets how many are done and how many there are. NothingThere for an unknown group.
    """
    asked = request_json(node, "POST", "/v1/marks", {"group": group, "label": label})["marks"]
    marks = [{"id": one["id"], "address": one["address"], "label": label, "done": False} for one in asked]
    ends = clock.monotonic() + wait_seconds
    while True:
        for one in marks:
            if not one["done"]:
                one["done"] = bool(request_json(node, "GET", f"/v1/marks/{quote(one['id'], safe='')}")["done"])
        progress(sum(one["done"] for one in marks), len(marks))
        if all(one["done"] for one in marks) or clock.monotonic() >= ends:
            return marks
        clock.sleep(POLL_SECONDS)
