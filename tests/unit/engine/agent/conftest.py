"""A source that protects a directory of its own, and a node in memory that takes what it sends."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from disk import differences, disk_image
from fake_node import FakeNode

from engine.agent.host.clock import SiteClock
from engine.agent.settings import Settings
from engine.agent.source import Source
from engine.drivers.files import Scope
from engine.env.clock import SYSTEM


def wait_for(condition: Callable[[], Any], seconds: float = 120.0) -> Any:
    """The condition's first true value; fails after `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.005)
    raise AssertionError(f"not within {seconds} s: {condition}")


class Site:
    """A directory `tree`, a node, and the source's life in between."""

    def __init__(self, base: Path, **settings: Any) -> None:
        self.base = base
        self.tree = base / "tree"
        self.tree.mkdir(exist_ok=True)
        self.node = FakeNode()
        self.settings = Settings(
            "5eed", "localhost", "writer", base / "agent", Scope([str(self.tree)]), self.node.connect,
            SYSTEM, SiteClock(SYSTEM), **settings,
        )  # fmt: skip
        self.sources: list[Source] = []

    @property
    def source(self) -> Source:
        return self.sources[-1]

    def start(self, *, wait: bool = True, **settings: Any) -> Source:
        self.settings = replace(self.settings, **settings)
        source = Source(self.settings)
        self.sources.append(source)
        source.start()
        if wait:
            wait_for(lambda: source.view.state == "protected" and source.view.baseline_done)
        return source

    def settle(self, seconds: float = 120.0) -> None:
        """Wait until the newest point equals the disk."""
        end = time.monotonic() + seconds
        while True:
            found = differences(self.image(), self.disk())
            if not found:
                return
            if time.monotonic() > end:
                raise AssertionError(f"{self.source.view} {found[:8]}")
            time.sleep(0.02)

    def disk(self) -> dict[bytes, tuple[Any, ...]]:
        return disk_image(str(self.tree).encode())

    def image(self, lsn: int | None = None) -> dict[bytes, tuple[Any, ...]]:
        """The tree at a point, by default the newest."""
        if lsn is None:
            lsn = ([0, *(point.lsn for point in self.node.points())])[-1]
        return self.node.image(str(self.tree).encode(), lsn)

    def stop(self) -> None:
        for source in self.sources:
            source.stop()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.stop()
