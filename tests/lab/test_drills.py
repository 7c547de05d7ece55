"""Drills on a real node: under its hardened unit a command has a network of its own, and the evidence is there."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.embedded import ROOT
from tests.lab import topology
from tests.lab.fixture import running
from tests.lab.lab import Lab
from tests.lab.policies import TREE, site
from tests.lab.topology import Topology, Volume

PROBE = "cat /proc/net/dev; test -s file"
DRILLS = f"""
  drills:
    - every: 1d
      checks: [checksums, {{command: {json.dumps(PROBE)}}}]
"""


def bcsctl(lab: Lab, policies: Path, *arguments: str) -> Any:
    command = [str(ROOT / ".venv" / "bin" / "bcsctl"), *arguments, "--json"]
    done = lab.controller.run(command, cwd=policies, check=False)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def until(condition: Callable[[], Any], seconds: float, told: Callable[[], Any]) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, told()
        time.sleep(0.5)


def test_a_node_makes_the_drills_of_its_policies_and_an_operator_may_too(tmp_path: Path) -> None:
    with running(topology.default("drills")) as lab:
        (tmp_path / "site.yaml").write_text(site(lab.inventory, "sf-db1").rstrip() + DRILLS)
        lab.hosts["sf-db1"].run(["sh", "-c", f"mkdir -p {TREE} && echo ledger > {TREE}/file"])
        applied = bcsctl(lab, tmp_path, "apply", "--yes", "--wait")
        assert applied["converged"], applied

        def drill() -> dict[str, Any]:
            [group] = bcsctl(lab, tmp_path, "status")["groups"]
            return dict(group["drill"])

        until(lambda: drill()["state"] not in ("never", "void"), 120, drill)
        assert drill()["state"] == "passed", drill()
        told = bcsctl(lab, tmp_path, "drill", "work")
        assert told["passed"], told
        [row] = [check for check in told["checks"] if check["name"] == "command"]
        devices = [line.split(":")[0].strip() for line in row["output"].splitlines() if ":" in line]
        assert devices == ["lo"], row
        assert told["where"]["host"] == "sf-bcs1"
        assert lab.hosts["sf-bcs1"].run(["ls", "/var/lib/bcs/drills"]).stdout.split() == ["lock"]


HOST, KEPT = "sf-db3", "ls -A /var/lib/bcs-agent/agent/drills /srv"
ON_HOST = f"""
  drills:
    - every: 1d
      host: {HOST}
      scratch: /srv
      checks: [checksums, {{command: {json.dumps(PROBE)}}}, {{command: "grep -qx {HOST} /etc/hostname"}}]
"""


def with_volume(name: str) -> Topology:
    """The host has a file system on which trees can be filled on demand: its root is an overlay, which can't."""
    plan = topology.default(name)
    volumes = (Volume("/srv", "xfs", 400),)
    return replace(
        plan, hosts=tuple(replace(host, volumes=volumes if host.name == HOST else ()) for host in plan.hosts)
    )


def test_a_host_makes_the_drills_that_its_agent_is_asked_for(tmp_path: Path) -> None:
    """Under its hardened unit an agent may make no namespaces: what it starts beside itself may."""
    with running(with_volume("drills-on-host")) as lab:
        policies = tmp_path / "site.yaml"
        policies.write_text(site(lab.inventory, "sf-db1", spare=HOST).rstrip() + ON_HOST)
        lab.hosts["sf-db1"].run(["sh", "-c", f"mkdir -p {TREE} && echo ledger > {TREE}/file && chmod 640 {TREE}/file"])
        applied = bcsctl(lab, tmp_path, "apply", "--yes", "--wait")
        assert applied["converged"], applied

        def drill() -> dict[str, Any]:
            [group] = bcsctl(lab, tmp_path, "status")["groups"]
            return dict(group["drill"])

        until(lambda: drill()["state"] not in ("never", "void"), 90, drill)
        assert drill()["state"] == "passed", drill()
        told = bcsctl(lab, tmp_path, "drill", "work")
        assert told["passed"], told
        assert told["where"]["host"] == HOST and told["rto_seconds"] > 0
        probe, _ = (check for check in told["checks"] if check["name"] == "command")
        devices = [line.split(":")[0].strip() for line in probe["output"].splitlines() if ":" in line]
        assert devices == ["lo"], probe
        cold = bcsctl(lab, tmp_path, "drill", "work", "--host", HOST, "--on-demand", "--then", "verify")
        assert cold["passed"] and cold["on_demand"]["mechanisms"] and cold["where"]["host"] == HOST, cold["checks"]
        assert 0 < cold["on_demand"]["usable_seconds"] <= cold["rto_seconds"] < cold["seconds"], cold
        ran = {check["name"] for check in cold["checks"] if check["passed"]}
        assert ran >= {"restore", "command", "fill", "checksums", "attributes"}, cold
        left = [each for each in lab.hosts[HOST].run(["sh", "-c", KEPT]).stdout.split() if each.startswith("drill-")]
        assert left == []
        listing = ["systemctl", "list-units", "--all", "--plain", "--no-legend", "bcs-drill-*", "bcs-fill-*"]
        until(lambda: not lab.hosts[HOST].run(listing).stdout, 30, lambda: lab.hosts[HOST].run(listing).stdout)
        # What nobody hears of any more fails, and the group is unproven.
        lab.hosts[HOST].run(["systemctl", "stop", "bcs-agent"])
        until(lambda: not bcsctl(lab, tmp_path, "drill", "work")["passed"], 90, drill)
        assert drill()["state"] == "failed" and HOST in drill()["reason"]
