"""Nodes and agents put on real hosts over ssh: from nothing, again, where it can't be, half-way, on and back, away.

The tests build on one another, in this order, on one lab.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engine.deploy import bundle, packages, wheels
from engine.deploy.platforms import Platform, this_platform
from engine.model.errors import Failed
from tests.embedded import ROOT
from tests.lab import topology
from tests.lab.fixture import running
from tests.lab.lab import Lab
from tests.lab.policies import site
from tests.lab.roots import cache
from tests.lab.topology import PYTHON_OF_BOOKWORM, Host

NODE, GOOD = "sf-bcs1", ("sf-db1", "sf-mail1")
PYTHON_313, NO_PYTHON, FULL, NO_SUDO = "sf-313", "sf-none", "sf-full", "sf-user"
NEW, OFF, HALF = "sf-new", "sf-off", "sf-half"
TROUBLED = (NO_PYTHON, FULL, NO_SUDO, NEW, OFF, HALF)
HOSTS = (
    Host(NODE, "sf", 10), Host(GOOD[0], "sf", 11), Host(GOOD[1], "sf", 12), Host(PYTHON_313, "sf", 13, root="trixie"),
    Host(NO_PYTHON, "sf", 14, hidden=PYTHON_OF_BOOKWORM), Host(FULL, "sf", 15), Host(NO_SUDO, "sf", 16),
    Host(NEW, "sf", 17), Host(OFF, "sf", 18), Host(HALF, "sf", 19),
)  # fmt: skip
UNTIL_KILLED = "until pkill -KILL -f '^/usr/bin/python[^ ]* -c import sys;exec'; do sleep 0.02; done"
TRACES = "/opt/bcs-node /opt/bcs-agent /var/lib/bcs /var/lib/bcs-agent /etc/bcs /etc/systemd/system/bcs-*"


@dataclass
class Scene:
    lab: Lab
    home: Path
    policies: Path

    def deploy(self, call: str, *hosts: str, check: bool = False, version: str = "", enrol: bool = True) -> Rows:
        asked = {
            "call": call, "hosts": hosts, "check": check, "version": version, "enrol": enrol,
            "policies": str(self.policies), "cache": str(self.home / "cache"),
        }  # fmt: skip
        done = self.lab.controller.run(
            [sys.executable, "-m", "tests.lab.deploying"], stdin=json.dumps(asked), cwd=ROOT,
            environment={"PIP_RETRIES": "0"},
        )  # fmt: skip
        answer = json.loads(done.stdout)
        print(f"{call} {', '.join(hosts) or NODE}: {answer['seconds']:.1f} s")
        return Rows(answer["rows"])

    def bcsctl(self, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "bcsctl", *map(str, arguments)]
        return self.lab.controller.run(argv, cwd=ROOT, check=check, environment={"BCS_HOME": str(self.home)})

    def on(self, host: str, command: str, *, check: bool = True) -> str:
        return self.lab.hosts[host].run(["sh", "-c", command], check=check).stdout.strip()

    def agent(self, host: str, name: str) -> str:
        """A variable of the environment that the host's agent runs with."""
        words = self.on(host, "tr '\\0' '\\n' </proc/$(systemctl show bcs-agent -P MainPID)/environ").splitlines()
        return next((word.partition("=")[2] for word in words if word.startswith(f"{name}=")), "")

    def reported(self) -> dict[str, str]:
        """{host: version} of the agents that the node hears."""
        hosts = json.loads(self.bcsctl("status", "--json", check=False).stdout)["hosts"]
        return {each["host"]: each["version"] for each in hosts if each["state"] == "healthy"}

    def until_reported(self, hosts: set[str], version: str) -> None:
        self.until(lambda: {(host, version) for host in hosts} <= set(self.reported().items()))

    def shown(self, host: str, unit: str, name: str) -> str:
        return self.on(host, f"systemctl show {unit} -P {name}")

    def until(self, condition: Callable[[], bool], seconds: float = 120.0) -> None:
        ends = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < ends, f"not within {seconds} s; the node hears {self.reported()}"
            time.sleep(0.1)


@dataclass(frozen=True)
class Rows:
    rows: dict[str, Any]

    def __getitem__(self, host: str) -> dict[str, Any]:
        return dict(self.rows[host])

    def states(self) -> dict[str, str]:
        return {host: row["state"] for host, row in self.rows.items()}

    def said(self, host: str) -> str:
        row = self.rows[host]
        assert "\n" not in row["message"] and row["hint"], row
        return f"{row['state']}: {row['message']} -> {row['hint']}"

    def changes(self, host: str) -> list[str]:
        return [task["name"] for task in self.rows[host]["tasks"] if task["state"] == "changed"]


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    plan = topology.Topology("deployment", (topology.SF,), HOSTS)
    with running(plan) as lab:
        home = lab.home / "bcs"
        (home / "cache").mkdir(parents=True)
        policies = lab.home / "policies"
        policies.mkdir()
        # As plain an inventory as can be: host keys, and becoming root, are for us to see to.
        inventory = home / "inventory.json"
        plain = json.loads(lab.inventory.read_text().replace("-o StrictHostKeyChecking=yes", ""))
        assert plain["all"]["vars"].pop("ansible_become")
        inventory.write_text(json.dumps(plain))
        (policies / "site.yaml").write_text(site(inventory, "sf-db1:sf-mail1"))
        for host in GOOD:
            lab.hosts[host].write("/srv/work/file", "here\n")
        yield Scene(lab, home, policies)


def test_check_mode_on_new_hosts_tells_all_and_changes_nothing(scene: Scene) -> None:
    node = scene.deploy("node", check=True)
    assert node[NODE]["state"] == "changed", node[NODE]
    shown = "\n".join(node[NODE]["diff"])
    assert "/etc/bcs/master.key" in shown and "+CapabilityBoundingSet=\n" in shown and '+    "site": "sf"' in shown
    agents = scene.deploy("agents", *GOOD, check=True)
    assert agents.states() == dict.fromkeys(GOOD, "changed"), agents
    assert "+ExecStart=/bin/sh" in "\n".join(agents[GOOD[0]]["diff"])
    for host in (NODE, *GOOD):
        assert scene.on(host, f"ls -d {TRACES} 2>/dev/null; id bcs 2>/dev/null", check=False) == ""


def test_from_nothing_to_protected(scene: Scene) -> None:
    shutil.rmtree(scene.home / "cache")  # bundles are made anew too
    began = time.monotonic()
    scene.bcsctl("apply", "--yes", "--wait", scene.policies)
    seconds = time.monotonic() - began
    print(f"a node and two agents from nothing to protected: {seconds:.1f} s")
    assert "file" in scene.bcsctl("ls", "work/sf-db1/files:/srv/work").stdout  # read by the node, as tight as it is
    assert "apply" in scene.bcsctl("query", "SELECT what FROM audit").stdout
    scene.until_reported(set(GOOD), bundle.version())
    assert scene.on(NODE, "stat -c '%U %a' /etc/bcs/master.key /var/lib/bcs") == "bcs 400\nbcs 700"
    assert scene.on(GOOD[0], "stat -c '%U %a' /var/lib/bcs-agent/identity/host.key") == "root 600"
    assert scene.on(GOOD[0], "ls /var/lib/bcs-agent/identity/enrolment 2>/dev/null", check=False) == ""
    assert scene.on(NODE, "ps -o user= -p $(systemctl show bcs-node -P MainPID)") == "bcs"


def test_a_second_run_changes_nothing(scene: Scene) -> None:
    node, agents = scene.deploy("node"), scene.deploy("agents", *GOOD)
    assert [node.changes(NODE), *(agents.changes(host) for host in GOOD)] == [[], [], []]
    assert node[NODE]["ok"] and all(agents[host]["ok"] for host in GOOD), (node, agents)
    assert all(agents[host]["facts"]["enrolled"] for host in GOOD)


def test_the_playbook_by_hand(scene: Scene) -> None:
    """As the handbook shows it, without bcsctl. Check mode, of a version that is there."""
    ca = scene.on(GOOD[0], "cat /var/lib/bcs-agent/identity/site-ca.pem") + "\n"
    variables = {
        "agent_root": "/opt/bcs-agent", "agent_home": "/var/lib/bcs-agent", "agent_unit": "bcs-agent",
        "agent_service": "systemd", "agent_cache": str(scene.home / "cache"), "agent_ca": ca,
        "agent_urls": ["https://sf-bcs1:8440"], "agent_settings": {"cpu_weight": 10},
    }  # fmt: skip
    argv = [sys.executable, "-m", "ansible", "playbook", "-i", scene.home / "inventory.json", "--limit", GOOD[0]]
    words = ["--check", "--diff", "-e", json.dumps(variables), "--tags", "preflight,install,configure"]
    said = scene.lab.controller.run([*argv, "playbooks/agent.yml", *words], cwd=ROOT).stdout
    assert "failed=0" in said and "unreachable=0" in said
    assert "site-ca.pem" not in said and "+CPUWeight=10" in said  # the only thing that is not as it is there


def test_units_are_as_tight_as_the_handbook_says(scene: Scene) -> None:
    handbook = (ROOT / "docs" / "deployment.md").read_text()
    for host, unit in ((NODE, "bcs-node"), (GOOD[0], "bcs-agent")):
        said = scene.on(host, f"systemd-analyze security --no-pager {unit} | tail -n 1")
        score = said.split(": ")[1].split(" ")[0]
        assert f"{unit}.service scores {score}" in handbook, said


def test_killed_and_hung_services_come_back(scene: Scene) -> None:
    """With a watchdog that is short, though not for a busy machine: one that works keeps it quiet, one that hangs is
    ended and started anew."""
    services = ((NODE, "bcs-node"), (GOOD[0], "bcs-agent"))
    for host, unit in services:
        assert scene.shown(host, unit, "WatchdogUSec") in ("2min", "3min")
        scene.lab.hosts[host].write(f"/run/systemd/system/{unit}.service.d/test.conf", "[Service]\nWatchdogSec=8\n")
        scene.on(host, f"systemctl daemon-reload; systemctl restart {unit}")
    began = {unit: int(scene.shown(host, unit, "WatchdogTimestampMonotonic")) for host, unit in services}
    for host, unit in services:
        scene.until(lambda: int(scene.shown(host, unit, "WatchdogTimestampMonotonic")) > began[unit] + 9_000_000)  # noqa: B023
        assert (scene.shown(host, unit, "NRestarts"), scene.shown(host, unit, "SubState")) == ("0", "running")
    for number, signal in (("1", "STOP"), ("2", "KILL")):
        for host, unit in services:
            scene.on(host, f"systemctl kill -s {signal} {unit}")
        for host, unit in services:
            scene.until(lambda: scene.shown(host, unit, "NRestarts") == number)  # noqa: B023
            scene.until(lambda: scene.shown(host, unit, "SubState") == "running")  # noqa: B023
    for host, unit in services:
        scene.on(host, f"rm /run/systemd/system/{unit}.service.d/test.conf; systemctl daemon-reload")
    assert scene.deploy("node").changes(NODE) == [] and scene.deploy("agents", GOOD[0]).changes(GOOD[0]) == []
    scene.until_reported(set(GOOD), bundle.version())


def test_an_agent_may_make_device_nodes(scene: Scene) -> None:
    """Restores bring them back; a device policy, which several of systemd's protections imply, would forbid it."""
    group = "/sys/fs/cgroup$(systemctl show bcs-agent -P ControlGroup)/cgroup.procs"
    made = scene.on(GOOD[0], f"echo $$ >{group} && mknod /tmp/null c 1 3 && stat -c %F /tmp/null && rm /tmp/null")
    assert made == "character special file"


def test_another_python_gets_what_was_fetched_for_it(scene: Scene) -> None:
    """First without: the controller of a lab has no package index. Then with what `make wheels` brings."""
    without = scene.deploy("agents", PYTHON_313)
    assert "no packages for Python 3.13" in without.said(PYTHON_313) and "make wheels" in without.said(PYTHON_313)
    kept = cache() / "wheels"
    try:
        wheels.fetch(kept, packages.AGENT, Platform("3.13", this_platform().machine))
    except Failed as error:
        pytest.skip(f"no agent for Python 3.13: {error.message}")
    shutil.copytree(kept, scene.home / "cache" / "wheels", dirs_exist_ok=True)
    rows = scene.deploy("agents", PYTHON_313)
    assert (rows[PYTHON_313]["state"], rows[PYTHON_313]["facts"]["python"]) == ("changed", "3.13"), rows
    scene.until_reported({PYTHON_313}, bundle.version())


def test_each_host_that_can_have_no_agent_is_a_row_and_the_others_go_on(scene: Scene) -> None:
    known_hosts = scene.lab.known_hosts.read_text()
    scene.lab.known_hosts.write_text("".join(each for each in known_hosts.splitlines(True) if NEW not in each))
    scene.on(FULL, "mount -t tmpfs -o size=8m none /opt")
    scene.on(NO_SUDO, "rm /etc/sudoers.d/ansible")
    scene.lab.hosts[OFF].power_off()
    killer = scene.lab.hosts[HALF].popen(["sh", "-c", UNTIL_KILLED])
    rows = scene.deploy("agents", *GOOD, *TROUBLED, "sf-nobody")
    killer.wait(120)
    scene.lab.known_hosts.write_text(known_hosts)
    assert rows.states() == {
        **dict.fromkeys(GOOD, "ok"), **dict.fromkeys((NO_PYTHON, FULL, NO_SUDO, HALF, "sf-nobody"), "failed"),
        NEW: "unreachable", OFF: "unreachable",
    }, rows  # fmt: skip
    assert "no Python from 3.11 to 3.13: it has no Python at all" in rows.said(NO_PYTHON)
    assert "apt-get install python3" in rows.said(NO_PYTHON)
    assert "8 MB free at /opt/bcs-agent" in rows.said(FULL) and "free some space" in rows.said(FULL)
    assert "root" in rows.said(NO_SUDO) and "sudo without a password" in rows.said(NO_SUDO)
    assert f"ssh-keyscan -t ed25519 {NEW}" in rows.said(NEW)
    assert "check that the host is up" in rows.said(OFF)
    assert "could not be unpacked" in rows.said(HALF) and "apply again" in rows.said(HALF)
    assert "no host sf-nobody" in rows.said("sf-nobody")
    assert scene.on(HALF, "ls /opt/bcs-agent /etc/systemd/system/bcs-agent.service 2>/dev/null", check=False) == ""


def test_the_next_run_heals(scene: Scene) -> None:
    scene.on(FULL, "umount /opt")
    scene.lab.hosts[NO_SUDO].write("/etc/sudoers.d/ansible", "ansible ALL=(ALL) NOPASSWD:ALL\n", 0o440)
    scene.lab.hosts[OFF].power_on()
    healed = tuple(host for host in TROUBLED if host != NO_PYTHON)
    rows = scene.deploy("agents", *healed)
    assert rows.states() == dict.fromkeys(healed, "changed"), rows
    scene.until_reported(set(healed), bundle.version())
    assert scene.on(HALF, "ls -A /opt/bcs-agent") == f"{bundle.version()}\ncurrent"


def test_a_run_cut_off_before_the_restart_is_finished_by_the_next(scene: Scene) -> None:
    """The files are there, but the process was started before them."""
    host = GOOD[0]
    scene.on(host, "sed -i s/MemoryMax=1G/MemoryMax=2G/ /etc/systemd/system/bcs-agent.service")
    scene.on(host, "systemctl daemon-reload; systemctl restart bcs-agent")
    scene.on(host, "sed -i s/BCS_DEPLOYED=./BCS_DEPLOYED=x/ /etc/systemd/system/bcs-agent.service")
    scene.on(host, "systemctl daemon-reload; systemctl restart bcs-agent")
    assert scene.agent(host, "BCS_DEPLOYED").startswith("x")
    rows = scene.deploy("agents", host)
    assert rows.changes(host) == ["Write the settings", "Run the agent as a service"]
    assert not scene.agent(host, "BCS_DEPLOYED").startswith("x")
    assert scene.on(host, "systemctl show bcs-agent -P MemoryMax") == str(1 << 30)


def test_on_and_back_by_the_link(scene: Scene) -> None:
    host, version, other = GOOD[0], bundle.version(), "9.0.0+000000000000"
    # Another version beside the one that runs, as an upgrade leaves it.
    scene.on(host, f"cd /opt/bcs-agent && cp -a {version} {other} && sed -i s/{version}/{other}/g {other}/start")
    upgraded = scene.deploy("agents", host, version=other)
    assert upgraded.changes(host) == ["Unpack the bundle", "Write the settings", "Run the agent as a service"]
    assert scene.agent(host, "BCS_AGENT_VERSION") == other
    assert scene.agent(host, "PYTHONPATH") == f"/opt/bcs-agent/{other}/lib"
    scene.until_reported({host}, other)

    back = scene.deploy("agents", host, version=version)
    assert back[host]["state"] == "changed" and scene.agent(host, "BCS_AGENT_VERSION") == version

    scene.on(host, f"ln -sfn {other} /opt/bcs-agent/current && systemctl restart bcs-agent")  # with no controller left
    assert scene.agent(host, "BCS_AGENT_VERSION") == other
    scene.deploy("agents", host)
    assert scene.agent(host, "BCS_AGENT_VERSION") == version

    gone = scene.deploy("agents", host, version="1.2.3")
    assert "no agent of version 1.2.3 any more; there are:" in gone.said(host) and version in gone.said(host)
    assert scene.agent(host, "BCS_AGENT_VERSION") == version


def test_a_version_that_does_not_come_up_gives_way_to_the_one_before(scene: Scene) -> None:
    version, broken = bundle.version(bundle.NODE), "9.9.9+broken"
    scene.on(NODE, f"cd /opt/bcs-node && cp -a {version} {broken} && sed -i s/{version}/{broken}/g {broken}/start")
    scene.on(NODE, f"rm /opt/bcs-node/{broken}/lib/engine/node/serve.py")
    rows = scene.deploy("node", version=broken)
    assert rows[NODE]["state"] == "failed"
    assert "No module named 'engine.node.serve'" in rows.said(NODE)
    assert f"version {version} runs again" in rows.said(NODE)
    assert scene.deploy("node").changes(NODE) == ["Write the settings", "Run the node as a service"]
    scene.until_reported(set(GOOD), bundle.version())


def test_a_node_never_makes_a_second_key_for_a_journal(scene: Scene) -> None:
    scene.on(NODE, "mv /etc/bcs/master.key /etc/bcs/saved")
    rows = scene.deploy("node")
    assert rows[NODE]["state"] == "failed" and "put the saved copy of /etc/bcs/master.key back" in rows.said(NODE)
    scene.on(NODE, "mv /etc/bcs/saved /etc/bcs/master.key")
    assert scene.deploy("node").changes(NODE) == []


def test_removed_without_a_trace(scene: Scene) -> None:
    host = GOOD[0]
    assert scene.deploy("remove", host, check=True)[host]["state"] == "changed"
    assert scene.on(host, "systemctl is-active bcs-agent") == "active"
    rows = scene.deploy("remove", host, NO_PYTHON)
    assert rows.states() == {host: "changed", NO_PYTHON: "failed"}
    assert scene.on(host, f"ls -d {TRACES} 2>/dev/null; systemctl cat bcs-agent 2>/dev/null", check=False) == ""
    assert scene.on(host, "cat /srv/work/file") == "here"
    assert scene.deploy("remove", host)[host]["state"] == "ok"
