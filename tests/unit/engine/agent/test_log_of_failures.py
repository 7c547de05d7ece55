"""An agent that is a process says a line when something fails and one when that is over."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import wait_for
from fake_node import FakeNode
from node_server import served

ROOT = Path(__file__).parents[4]
Line = dict[str, Any]


class Agent:
    """Its process, and what it said."""

    def __init__(self, base: Path) -> None:
        self.home, self.tree, self.socket, self.log = base / "home", base / "tree", base / "s", base / "log"
        self.home.mkdir()
        self.tree.mkdir()
        source = {"stream": "5eed", "address": "g/h/s", "kind": "files", "paths": [str(self.tree)], "rpo_seconds": 5}
        self.node = FakeNode(sources=[source])
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        argv = [sys.executable, "-m", "engine.agent", "agent", "--home", str(self.home), "--socket", str(self.socket)]
        environment = {**os.environ, "BCS_HOME": str(self.home), "PYTHONPATH": str(ROOT), "BCS_LOG": "json"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(argv, env=environment, stderr=log)

    def says(self, which: Callable[[Line], bool], count: int = 1) -> Line:
        """The last of so many such lines, once they are there."""
        return list(wait_for(lambda: (found := list(filter(which, self.lines())))[count - 1 :] and found))[-1]

    def about(self, matter: str) -> list[Line]:
        return [line for line in self.lines() if line.get("matter") == matter]

    def lines(self) -> list[Line]:
        text = self.log.read_text() if self.log.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def end(self, number: int = signal.SIGTERM) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait(120)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    made = Agent(tmp_path)
    with served(made.node, made.socket):
        try:
            yield made
        finally:
            if made.process is not None and made.process.poll() is None:
                made.end()


def test_a_node_that_goes_and_comes_back(agent: Agent) -> None:
    agent.start()
    agent.says(lambda line: line["message"] == "g/h/s: protected")
    agent.node.away = True
    agent.says(lambda line: line["level"] == "warning" and line["message"] == "node: does not answer")
    agent.node.away = False
    agent.says(lambda line: line["message"] == "node: hears this host", count=2)


def test_an_agent_that_was_killed_tells_its_gap_and_its_end(agent: Agent) -> None:
    agent.start()
    agent.says(lambda line: line["message"] == "g/h/s: protected")
    for life in range(2, 12):
        agent.end(signal.SIGKILL)
        for number in range(3000):
            (agent.tree / f"{life}-{number}").touch()
        agent.start()
        agent.says(lambda line: line["message"] == "g/h/s: protected", count=life)
        gap = wait_for(lambda: (told := agent.about("gap"), len(told) % 2 == 0)[1] and [*told[-2:], None])[:-1]
        if gap and any(line["message"].startswith("g/h/s: catching-up") for line in agent.lines()):
            break  # else it was over before anybody looked
    else:
        pytest.fail("neither was told")
    assert [line["level"] for line in gap] == ["warning", "info"]
    assert "agent was killed" in gap[0]["message"]


def test_a_path_that_has_gone_and_is_back(agent: Agent) -> None:
    agent.start()
    agent.says(lambda line: line["message"] == "g/h/s: protected")
    agent.tree.rename(agent.tree.with_name("elsewhere"))
    agent.says(lambda line: line["level"] == "warning" and line["message"].startswith("g/h/s: failed: "))
    agent.tree.with_name("elsewhere").rename(agent.tree)
    agent.says(lambda line: line["message"] == "g/h/s: protected", count=2)
