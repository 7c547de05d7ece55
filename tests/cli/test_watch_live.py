"""The GitOps loop as a service runs it: what is pushed is applied, what drifted is healed, what fails is said."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.env import processes
from engine.env.endpoint import request_json
from engine.reconcile import embedded

from .conftest import ROOT, Run

POLICY = """
apiVersion: bcs/v1alpha1
kind: ProtectionGroup
metadata: {{name: {group}}}
spec:
  sources: [{{files: {{paths: [{path}]}}}}]
"""


def git(folder: Path, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "init.defaultBranch=main")
    done = subprocess.run(
        ["git", "-C", str(folder), *who, *arguments], env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


class Loop:
    """`bcsctl apply --watch` over a clone, and the repository that people push to."""

    def __init__(self, base: Path, home: Path) -> None:
        self.home, self.origin, self.clone = home, base / "origin", base / "clone"
        self.origin.mkdir()
        git(self.origin, "init", "-q")
        (base / "data").mkdir()
        self.push(POLICY.format(group="first", path=base / "data"))
        git(base, "clone", "-q", str(self.origin), "clone")
        environment = {key: value for key, value in os.environ.items() if not key.startswith("BCS_")}
        environment |= {"BCS_HOME": str(home), "BCS_SERVICE": "detached", "TZ": "UTC", "PYTHONPATH": str(ROOT)}
        self.log = base / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "bcsctl", "apply", "--watch", "1s", "--yes"],
                cwd=self.clone, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def push(self, text: str) -> str:
        (self.origin / "policy.yaml").write_text(text)
        git(self.origin, "add", "-A")
        git(self.origin, "commit", "-q", "-m", "policy")
        return git(self.origin, "rev-parse", "HEAD")

    def last(self) -> dict[str, Any]:
        return request_json(self.home / "run" / "node.sock", "GET", "/v1/sync")["sync"] or {}

    def until(self, condition: Callable[[], Any]) -> Any:
        ends = time.monotonic() + 90
        while time.monotonic() < ends:
            try:
                if value := condition():
                    return value
            except Exception:
                pass  # no node yet
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(120)


@pytest.fixture
def loop(tmp_path: Path, run: Run) -> Iterator[Loop]:
    made = Loop(tmp_path, tmp_path / "home")
    yield made
    if made.process.poll() is None:
        made.process.kill()
        made.process.wait()
    assert run("down", BCS_SERVICE="detached").code == 0


def test_what_is_pushed_is_applied_and_what_drifts_is_healed(loop: Loop, tmp_path: Path, run: Run) -> None:
    first = git(loop.origin, "rev-parse", "HEAD")
    assert loop.until(lambda: loop.last())["commit"] == first
    assert "+ ProtectionGroup first" in loop.log.read_text()

    pid = loop.until(lambda: embedded.agent_pid(loop.home))
    os.kill(pid, signal.SIGKILL)
    loop.until(lambda: loop.last()["drift"] == 1)
    assert embedded.agent_pid(loop.home) not in (None, pid)

    broken = loop.push(POLICY.format(group="first", path="not/absolute"))
    failed = loop.until(lambda: (last := loop.last())["state"] == "failed" and last)
    assert failed["commit"] == broken and failed["failing_since"]
    assert run("history", "--json").json["applied"][-1]["commit"] == first, "what was applied before still holds"

    (tmp_path / "more").mkdir()
    second = loop.push(POLICY.format(group="first", path=tmp_path / "more"))
    loop.until(lambda: (last := loop.last())["commit"] == second and last["state"] in ("applied", "synced"))
    assert loop.stop() == 0
    log = loop.log.read_text()
    assert re.search(rf"\S+Z healed at {first[:12]}, 1 change\n", log), log
    assert re.search(rf"\S+Z failed at {broken[:12]}: ", log), log
    assert log.count(" failed at ") == 1, "a failure is said once"
    assert processes.is_alive(embedded.node_pid(loop.home) or 0), "the loop's end stops nobody"
