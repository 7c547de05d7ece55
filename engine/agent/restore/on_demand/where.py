"""Where the node of a tree is, as a small document of its place: supervisors and fillers outlive the agent that knew.

The agent that starts next writes what it was told, and who fills looks there again when nobody answers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from engine.env import durable
from engine.fill.base import Place

MODULE = "engine.agent.restore.on_demand"
"""What is run as the filler: by it a recovery that a node ordered is known."""


def write(place: Place, told: dict[str, Any]) -> None:
    """{host, socket, nodes}; nothing when it is the same. Durable."""
    if read(place) != told:
        durable.replace(_path(place), json.dumps(told).encode())


def read(place: Place) -> dict[str, Any]:
    """Empty when it was never written, or the recovery has ended."""
    try:
        found: dict[str, Any] = json.loads(_path(place).read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return found


def _path(place: Place) -> Path:
    return place.path / "node.json"
