"""A slow line, or a node that is away, delays what is sent and nothing else: what waits is on disk, not in memory."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from conftest import wait_for
from disk import differences, disk_image
from fake_node import FakeNode
from node_server import served

from engine.agent.live import NAP_SECONDS, NAP_SECONDS_MAX, nap_seconds
from engine.model.policy.agents import agent_settings

ROOT = Path(__file__).parents[4]
MIB = 1 << 20
WAITING_BYTES = 300 * MIB
ON_THEIR_WAY_BYTES = 5 * 16 * MIB
"""Full batches that were sent while the node was taken for present are in memory alone, a few of them."""
GROWTH_BYTES_MAX = 176 * MIB
"""The agent's budget: 64 MiB of old contents, 48 MiB of batches that wait, the batch that is made, and room to work."""


class Host:
    """A home, a tree, a node that can be stopped, and an agent that is a real process."""

    def __init__(self, base: Path) -> None:
        self.home, self.tree, self.socket = base / "home", base / "tree", base / "s"
        self.home.mkdir()
        self.tree.mkdir()
        self.node = FakeNode(
            sources=[{"stream": "5eed", "address": "g/h/s", "kind": "files", "paths": [str(self.tree)]}]
        )
        self.serving = ExitStack()
        self.process: subprocess.Popen[bytes] | None = None

    def serve(self) -> None:
        self.serving.enter_context(served(self.node, self.socket))

    def start(self) -> None:
        argv = [sys.executable, "-m", "engine.agent", "agent", "--home", str(self.home), "--socket", str(self.socket)]
        environment = {**os.environ, "BCS_HOME": str(self.home), "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(argv, env=environment)
        wait_for(lambda: self.told.get("state") == "protected" and self.told["baseline"]["done"])

    @property
    def told(self) -> dict[str, Any]:
        """What the agent said last of its source."""
        rows: list[dict[str, Any]] = self.node.statuses[-1]["sources"] if self.node.statuses else []
        return rows[0] if rows else {}

    def policy(self, **agent: Any) -> None:
        self.node.change(agent=agent_settings(agent).as_json())

    def memory_bytes(self, name: str = "VmRSS") -> int:
        assert self.process is not None
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

    def spool_bytes(self) -> int:
        return sum(path.stat().st_size for path in (self.home / "agent" / "5eed" / "spool").iterdir())

    def is_settled(self) -> bool:
        lsn = ([0, *(point.lsn for point in self.node.points())])[-1]
        return not differences(self.node.image(os.fsencode(self.tree), lsn), disk_image(os.fsencode(self.tree)))


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path)
    made.serve()
    try:
        yield made
    finally:
        if made.process is not None:
            made.process.terminate()
            made.process.wait(120)
        made.serving.close()


def test_while_the_node_is_away_the_spool_grows_and_the_memory_does_not(host: Host) -> None:
    host.start()
    host.node.away = True
    before = host.memory_bytes()
    for number in range(WAITING_BYTES // (4 * MIB)):
        (host.tree / f"{number:04}").write_bytes(os.urandom(4 * MIB))
    wait_for(lambda: host.spool_bytes() >= WAITING_BYTES - ON_THEIR_WAY_BYTES, 120)
    assert host.memory_bytes("VmHWM") - before < GROWTH_BYTES_MAX


def test_the_more_batches_wait_the_fewer_are_made() -> None:
    assert nap_seconds(0) == NAP_SECONDS
    assert nap_seconds(4) < 1.1 * NAP_SECONDS, "what is on its way to a node that answers changes nothing"
    assert nap_seconds(1000) > 10 * NAP_SECONDS
    assert nap_seconds(10**6) == NAP_SECONDS_MAX


def test_a_slow_line_holds_nothing_up_and_a_new_bound_holds_at_once(host: Host) -> None:
    host.policy(bandwidth="32KiB/s")
    host.start()
    changed_at = time.monotonic()
    (host.tree / "large").write_bytes(os.urandom(2 * MIB))
    wait_for(lambda: host.spool_bytes() > 2 * MIB, 120)
    (host.tree / "later").write_bytes(os.urandom(MIB))
    wait_for(lambda: host.spool_bytes() > 3 * MIB, 120)
    assert host.told["state"] == "protected" and not host.is_settled()
    assert time.monotonic() - changed_at < 60, "96 seconds of sending are before it"
    host.policy()
    wait_for(host.is_settled, 120)
    assert time.monotonic() - changed_at < 90
