"""What a site is for: hosts, node and network fail while data changes, and everything acknowledged comes back.

BCS_LAB_SECONDS says how long the changes go on: 120 for the whole of it.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engine.model.times import parse_time
from tests.embedded import ROOT
from tests.lab import topology
from tests.lab.fixture import running
from tests.lab.lab import Lab
from tests.lab.machine import Machine
from tests.lab.policies import TREE, site

SECONDS = float(os.environ.get("BCS_LAB_SECONDS", "45"))
ON_HOSTS = Path(__file__).parent / "on_hosts"
PROTECTED = ("sf-db1", "sf-mail1")
NODE, SPARE = "sf-bcs1", "sf-db3"


@dataclass
class Scene:
    """A site on real hosts, and what changes data on them."""

    lab: Lab
    policies: Path
    changing: dict[str, subprocess.Popen[bytes]]

    def bcsctl(self, *arguments: str | Path, check: bool = True) -> Any:
        """What the command prints as JSON, typed on the machine that policies are applied from."""
        done = self.lab.controller.run(
            [str(ROOT / ".venv" / "bin" / "bcsctl"), *map(str, arguments), "--json"], cwd=self.policies, check=False
        )
        assert not check or done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return json.loads(done.stdout)

    def begin_changes(self, host: str, seed: int) -> None:
        machine = self.lab.hosts[host]
        machine.write("/root/change.py", (ON_HOSTS / "change.py").read_text())
        self.changing[host] = machine.popen(["python3", "/root/change.py", TREE, str(seed)])

    def end_changes(self, host: str) -> None:
        process = self.changing.pop(host)
        self.lab.hosts[host].run(["pkill", "-TERM", "-f", "^python3 /root/change.py"])
        process.wait(120)

    def until(self, condition: Callable[[], Any], seconds: float = 120.0) -> Any:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            if value := condition():
                return value
            time.sleep(0.3)
        raise AssertionError(f"not within {seconds} s: {json.dumps(self.bcsctl('status'), indent=1)}")

    def source(self, host: str) -> dict[str, Any]:
        rows = [row for group in self.bcsctl("status")["groups"] for row in group["sources"]]
        return next(row for row in rows if row["address"] == f"work/{host}/files")

    def caught_up(self, host: str, at: int) -> bool:
        """Whether the node has everything of the host up to a time, and says that it is protected."""
        row = self.source(host)
        return row["protected"] == "protected" and row["through_at"] and parse_time(row["through_at"], 0) > at

    def manifest(self, host: str, tree: str = TREE) -> list[str]:
        machine: Machine = self.lab.hosts[host]
        machine.write("/root/manifest.py", (ON_HOSTS / "manifest.py").read_text())
        return sorted(machine.run(["python3", "/root/manifest.py", tree]).stdout.splitlines())

    def restore(self, host: str, to: str) -> dict[str, Any]:
        return self.bcsctl("restore", f"work/{host}/files", "--to", f"{SPARE}:{to}", "--verify")

    def gaps(self, host: str) -> list[dict[str, Any]]:
        return self.bcsctl("points", f"work/{host}/files")["gaps"]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with running(topology.default("losses")) as lab:
        policies = tmp_path_factory.mktemp("policies")
        (policies / "site.yaml").write_text(site(lab.inventory, "sf-db1:sf-mail1", spare="sf-db3"))
        made = Scene(lab, policies, {})
        for host in PROTECTED:
            lab.hosts[host].run(["mkdir", "-p", TREE])
        yield made
        for process in made.changing.values():
            process.kill()
            process.wait()


def test_everything_acknowledged_comes_back_and_only_real_gaps_show(scene: Scene) -> None:
    lab, part = scene.lab, SECONDS / 6
    applied = scene.bcsctl("apply", "--yes", "--wait")
    assert applied["converged"], applied
    for seed, host in enumerate(PROTECTED):
        scene.begin_changes(host, seed)
    time.sleep(part)

    # A host loses power. What the node had by then can be had at once, the host still dark.
    mail = lab.hosts["sf-mail1"]
    mail.write(f"{TREE}/acknowledged", "before the power went\n")
    written = time.time_ns() // 1000
    scene.until(lambda: scene.caught_up("sf-mail1", written))
    dark_from = time.time_ns() // 1000
    mail.power_off()
    scene.changing.pop("sf-mail1").wait(120)
    at_latest = scene.restore("sf-mail1", "/restored/dark")
    assert at_latest["verified"]
    assert lab.hosts[SPARE].read("/restored/dark/acknowledged") == "before the power went\n"
    time.sleep(part)
    dark_to = time.time_ns() // 1000
    mail.power_on()
    scene.begin_changes("sf-mail1", 7)
    time.sleep(part)

    # The node loses power; its hosts spool meanwhile.
    node = lab.hosts[NODE]
    node.power_off()
    time.sleep(part)
    node.power_on()

    # The network is cut.
    lab.hosts["sf-db1"].cut()
    time.sleep(max(part, 30.0 if SECONDS >= 120 else 8.0))
    lab.hosts["sf-db1"].heal()
    time.sleep(part)

    for host in PROTECTED:
        scene.end_changes(host)
    ended = time.time_ns() // 1000
    for host in PROTECTED:
        scene.until(lambda host=host: scene.caught_up(host, ended))
    for host in PROTECTED:
        restored = scene.restore(host, f"/restored/{host}")
        assert restored["verified"], restored
        assert_equal(scene.manifest(SPARE, f"/restored/{host}"), scene.manifest(host))

    assert scene.gaps("sf-db1") == [], "neither the node's loss nor a cut line costs a change"
    [gap] = scene.gaps("sf-mail1")
    assert parse_time(gap["from"], 0) <= dark_from + 1_000_000
    assert dark_to - 1_000_000 <= parse_time(gap["to"], 0) <= ended + 1_000_000


def assert_equal(restored: Sequence[str], live: Sequence[str]) -> None:
    """Every entry of the one is in the other, the same in every byte and attribute."""
    missing, more = sorted(set(live) - set(restored)), sorted(set(restored) - set(live))
    assert not missing and not more, f"{len(missing)} missing, {len(more)} more: {missing[:3]} {more[:3]}"
    assert len(live) > 50, "there was something to restore"


def test_nothing_of_ours_is_left_hanging(scene: Scene) -> None:
    """Services that were cut and came back run once, without a failed unit."""
    for host in (*PROTECTED, SPARE, NODE):
        unit = "bcs-node" if host == NODE else "bcs-agent"
        assert scene.lab.hosts[host].run(["systemctl", "is-active", unit]).stdout.strip() == "active"
        assert not scene.lab.hosts[host].run(["systemctl", "--failed", "--plain", "--no-legend"]).stdout.strip()
