"""Marks that were asked for, kept in BCS_HOME/node/marks.json, so that a node that starts again still asks for them."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from engine.env import durable
from engine.node.desired import MarkRequest

KEPT_MAX = 1_000


class KeptMarks:
    """The file. Safe to use from any thread; a write holds all that was asked for before it began."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._written = b"[]"

    def read(self) -> dict[str, MarkRequest]:
        """What was kept, by id; nothing where there is no such file, or it is no such file: marks are asked for again
        then by whoever wants them."""
        try:
            kept = [MarkRequest(**each) for each in json.loads(self._path.read_bytes())]
        except (FileNotFoundError, ValueError, TypeError):
            return {}
        return {mark.id: mark for mark in kept}

    def write(self, marks: Mapping[str, MarkRequest]) -> None:
        """Keep the newest of these, durably; nothing is done when they are kept already."""
        with self._lock:
            newest = list(marks.values())[-KEPT_MAX:]
            text = json.dumps([asdict(mark) for mark in newest]).encode()
            if text != self._written:
                durable.replace(self._path, text)
                self._written = text
