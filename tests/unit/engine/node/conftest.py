"""A node in this process whose clock the test turns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.env.clock import Clock
from tests.nodes import InProcessNode, in_process_node


class TurnedClock(Clock):
    """Wall time stands still unless a test turns it; intervals are real."""

    def __init__(self) -> None:
        self.at = 1_800_000_000_000_000

    def now(self) -> int:
        return self.at


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


@pytest.fixture
def node(tmp_path: Path, clock: TurnedClock) -> Iterator[InProcessNode]:
    with in_process_node(tmp_path / "home", clock) as node:
        yield node
