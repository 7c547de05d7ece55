"""What a restore has behind it, on disk: who is killed goes on there.

Batches are not synced one by one. So what is noted holds until the machine starts anew: then everything is written
again, over what is there.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.agent.restore.landing import Before, before_json
from engine.agent.restore.receive import Done
from engine.env import durable
from engine.env.boot import boot_id


@dataclass(slots=True)
class State:
    """`next` is the first batch of the plan `fingerprint` that was not applied; `seconds` were spent by then. `kept`
    are the file_ids of what stood there as it is to be, None before anybody looked; `placing` what differed once all
    was made and read back, None before that: from then on it only takes its places."""

    before: Before
    fingerprint: str = ""
    next: int = 0
    seconds: float = 0.0
    done: Done = field(default_factory=Done)
    kept: set[int] | None = None
    placing: list[tuple[bytes, str]] | None = None


def save(path: Path, state: State) -> None:
    done = state.done
    value = {
        "boot": boot_id(),
        "before": before_json(state.before),
        "fingerprint": state.fingerprint,
        "next": state.next,
        "seconds": state.seconds,
        "kept": None if state.kept is None else sorted(state.kept),
        "placing": None if state.placing is None else _told(state.placing),
        "done": {
            "files": done.files,
            "names": done.names,
            "bytes_written": done.bytes_written,
            "failures": _told(done.failures),
            "shortfalls": done.shortfalls,
            "failed": sorted(done.failed),
            "damaged": done.damaged,
            "attributes_set": done.attributes_set,
        },
    }
    durable.replace(path, json.dumps(value).encode())


def load(path: Path) -> State | None:
    """None when nothing was begun, or nobody can read what was noted."""
    try:
        value = json.loads(path.read_bytes())
        before = Before(**value["before"])
        if value["boot"] != boot_id():
            return State(before)
        told: dict[str, Any] = value["done"]
        done = Done(
            told["files"],
            told["names"],
            told["bytes_written"],
            _read(told["failures"]),
            list(told["shortfalls"]),
            set(told["failed"]),
            told["damaged"],
            told["attributes_set"],
        )
        kept = None if value.get("kept") is None else set(value["kept"])
        placing = None if value.get("placing") is None else _read(value["placing"])
        return State(before, value["fingerprint"], value["next"], value["seconds"], done, kept, placing)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _told(rows: Iterable[tuple[bytes, str]]) -> list[list[str]]:
    return [[base64.b64encode(name).decode(), why] for name, why in rows]


def _read(rows: Iterable[tuple[str, str]]) -> list[tuple[bytes, str]]:
    return [(base64.b64decode(name), why) for name, why in rows]
