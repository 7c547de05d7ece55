"""Applies at a site with a node of its own, for real but for Ansible: node and agents are processes of this machine,
which speak TLS with each other; whatever the playbooks would do on hosts, `Hosts` does here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from engine.deploy import agents, bundle, nodes
from engine.deploy.nodes import NodeOutcome
from engine.deploy.outcome import HostOutcome, Outcome
from engine.env import credentials, durable
from engine.env.endpoint import request_json
from engine.model.errors import Refused, UsageError
from engine.model.policy.site import Site
from engine.plan.reconcile import Plan, check_guards
from engine.reconcile import apply_site
from engine.reconcile.apply import ApplyResult, apply
from engine.reconcile.apply_site import admin_name
from engine.reconcile.checking import check_hosts
from engine.reconcile.planning import make_plan
from engine.reconcile.provenance import Provenance
from engine.reconcile.saved_plan import read_plan, save_plan
from tests.embedded import ROOT
from tests.ports import free_port
from tests.secured import SecuredNode, secured_node

ORIGIN = Provenance("ann@example", "c0ffee", True)
WAIT_SECONDS = 60.0
HEAD = "apiVersion: bcs/v1alpha1\nkind: {}\nmetadata: {{name: {}}}\nspec:\n"


@dataclass
class Hosts:
    """What Ansible would reach: `down` hosts are unreachable. Agents run from the checkout."""

    folder: Path
    port: int
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    started_with: dict[str, str] = field(default_factory=dict)
    down: set[str] = field(default_factory=set)
    deployed: list[list[str]] = field(default_factory=list)
    nodes: dict[str, tuple[SecuredNode, ExitStack]] = field(default_factory=dict)

    def deploy_node(
        self, site: Site, host: str, *, admins: Mapping[str, str] | None = None, **options: Any
    ) -> NodeOutcome:
        assert site.inventory.endswith("hosts.yml")
        if options.get("check"):
            return NodeOutcome(HostOutcome("changed", diff=("+ node",)))
        if host in self.down:
            return NodeOutcome(HostOutcome("unreachable", "no route to host", "look at it"))
        home = self.folder / f"node-{site.name}"
        (home / "node" / "admins").mkdir(parents=True, exist_ok=True)
        for name, digest in (admins or {}).items():
            durable.replace(home / "node" / "admins" / f"{name}.sha256", digest.encode())
        if site.name not in self.nodes:
            url = site.nodes[0].url
            settings = {"site": site.name, "host": host, "urls": [url], "listen": url.removeprefix("https://")}
            stack = ExitStack()
            node = stack.enter_context(secured_node(home, **settings))
            self.nodes[site.name] = node, stack
        return NodeOutcome(HostOutcome("changed"), self.nodes[site.name][0].ca_pem, bundle.version(bundle.NODE))

    def deploy_agents(
        self,
        site: Site,
        hosts: Sequence[str],
        *,
        ca_pem: str,
        enrolments: Mapping[str, str] | None = None,
        **options: Any,
    ) -> Outcome:
        if options.get("check"):
            return Outcome({host: HostOutcome("ok") for host in hosts})
        self.deployed.append(sorted(hosts))
        return Outcome({host: self._deploy(site, host, ca_pem, (enrolments or {}).get(host, "")) for host in hosts})

    def remove_agents(self, site: Site, hosts: Sequence[str], **options: Any) -> Outcome:
        return Outcome({host: self._remove(host) for host in hosts})

    def _deploy(self, site: Site, host: str, ca_pem: str, enrolment: str) -> HostOutcome:
        if host in self.down:
            return HostOutcome("unreachable", "no route to host", "look at it")
        identity = self.folder / host / "identity"
        identity.mkdir(parents=True, exist_ok=True)
        (identity / "site-ca.pem").write_text(ca_pem)
        if enrolment and not (identity / "host.pem").exists():
            (identity / "enrolment").write_text(enrolment)
        settings = agents.settings_digest(site)
        if host in self.running and self.started_with[host] == settings:
            return HostOutcome("ok")
        self.stop(host)
        self.started_with[host] = settings
        url = site.nodes[0].url
        argv = ["-m", "engine.agent", "agent", "--home", self.folder / host, "--host", host, "--node", url]
        environment = {"BCS_AGENT_VERSION": bundle.version(), "BCS_AGENT_SETTINGS": settings, "PYTHONPATH": str(ROOT)}
        with (self.folder / f"{host}.log").open("ab") as log:
            self.running[host] = subprocess.Popen(
                [sys.executable, *argv], env={**os.environ, **environment}, stdout=log, stderr=log
            )
        return HostOutcome("changed")

    def _remove(self, host: str) -> HostOutcome:
        if host in self.down:
            return HostOutcome("unreachable", "no route to host", "look at it")
        self.stop(host)
        shutil.rmtree(self.folder / host)
        return HostOutcome("changed")

    def stop(self, host: str) -> None:
        process = self.running.pop(host, None)
        if process is not None:
            process.terminate()
            process.wait(120)

    def stop_node(self, site: str = "sf") -> None:
        self.nodes.pop(site)[1].close()

    def end(self) -> None:
        for host in list(self.running):
            self.stop(host)
        for site in list(self.nodes):
            self.stop_node(site)


@dataclass
class Scene:
    hosts: Hosts
    home: Path
    repository: Path

    def plan(self, **options: Any) -> Plan:
        return make_plan(self.home, [self.repository], **options)

    def apply(self, plan: Plan | None = None, confirm: int | None = None, **how: Any) -> ApplyResult:
        plan = plan or self.plan()
        check_guards(plan, confirm=confirm)
        return apply(self.home, plan, ORIGIN, **{"wait": True, "wait_seconds": WAIT_SECONDS, **how})

    def group(self, name: str, hosts: str, rpo: str = "5s", more: str = "", site: str = "sf") -> None:
        (self.repository / f"{name}.yaml").write_text(
            HEAD.format("ProtectionGroup", name)
            + f"  site: {site}\n  hosts: {hosts}\n  objectives: {{rpo: {rpo}}}\n"
            + f"  sources: [{{files: {{paths: ['{self.hosts.folder / 'data' / name}']}}}}]\n{more}"
        )
        (self.hosts.folder / "data" / name).mkdir(parents=True, exist_ok=True)
        (self.hosts.folder / "data" / name / "a.txt").write_text("one\n")

    def site(self, agent: str = "{hosts: h3}", name: str = "sf", node: str = "n1", port: int = 0) -> None:
        url = f"https://127.0.0.1:{port or self.hosts.port}"
        (self.repository / f"{name}.yaml").write_text(
            HEAD.format("Site", name)
            + f"  inventory: inventory/hosts.yml\n  nodes: [{{host: {node}, url: '{url}'}}]\n"
            + f"  storage: {{url: 'file:///var/lib/bcs/journal'}}\n  agent: {agent}\n"
        )


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("BCS_URL", "BCS_TOKEN", "BCS_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    # Of this checkout's sources, while somebody may be writing them.
    monkeypatch.setattr(bundle, "version", lambda kind=bundle.AGENT: f"1.0+{kind}")
    monkeypatch.setenv("BCS_NODE_VERSION", bundle.version(bundle.NODE))
    monkeypatch.setattr(apply_site, "REPORT_SECONDS", 15.0)
    hosts = Hosts(tmp_path / "hosts", free_port())
    (tmp_path / "repository" / "inventory").mkdir(parents=True)
    inventory = tmp_path / "repository" / "inventory" / "hosts.yml"
    inventory.write_text("all: {hosts: {n1: {}, n2: {}, h1: {}, h2: {}, h3: {}, h4: {}}}\n")
    monkeypatch.setattr(nodes, "deploy_node", hosts.deploy_node)
    monkeypatch.setattr(agents, "deploy_agents", hosts.deploy_agents)
    monkeypatch.setattr(agents, "remove_agents", hosts.remove_agents)
    scene = Scene(hosts, tmp_path / "home", tmp_path / "repository")
    scene.site()
    scene.group("a", "h1")
    scene.group("b", "h2")
    try:
        yield scene
    finally:
        hosts.end()


def eventually(condition: Callable[[], bool], what: str) -> None:
    ends_at = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < ends_at, f"waited in vain for {what}"
        time.sleep(0.05)


def shown(plan: Plan) -> list[str]:
    return [f"{each.action} {each.kind} {each.name}" for each in plan.actions]


def rows(done: ApplyResult) -> dict[str, str]:
    return {f"{row.kind} {row.name}": row.state for row in done.results}


def test_from_nothing_to_protected_then_what_fails_and_what_goes(scene: Scene) -> None:
    done = scene.apply()
    assert rows(done) == {
        "Node n1": "changed",
        "Agent h1": "changed",
        "Agent h2": "changed",
        "Agent h3": "changed",
        "Source a/h1/files": "protected",
        "Source b/h2/files": "protected",
    }, done
    assert done.ok and done.converged and done.numbers == {"sf": 1} and not done.again
    known = credentials.read("sf")
    assert known is not None and known.token.startswith("bcs_")
    assert scene.plan().noop and scene.apply().converged
    assert scene.hosts.deployed == [["h1", "h2", "h3"]]
    applied = request_json(known.endpoint(), "GET", "/v1/policies/latest")
    assert (applied["by"], applied["commit"], applied["dirty"]) == ("ann@example", "c0ffee", True)
    assert applied["agents"] == ["h1", "h2", "h3"]

    # One host can't be reached: the others go on, the plan says what is left, the next apply does it.
    scene.site("{hosts: h3, memoryLimit: 512MiB}")
    scene.group("a", "h1", rpo="9s")
    scene.hosts.down.add("h2")
    done = scene.apply()
    assert rows(done)["Agent h2"] == "unreachable" and rows(done)["Source a/h1/files"] == "protected"
    assert not done.ok and not done.converged and done.numbers == {"sf": 2}
    left = scene.plan()
    assert shown(left) == ["update Agent h2"] and left.actions[0].reason == "runs with other settings"
    scene.hosts.down.clear()
    assert scene.apply(left).converged and scene.plan().noop

    # A group that goes takes its agent along; a host that is down keeps it until the next apply.
    (scene.repository / "b.yaml").unlink()
    with pytest.raises(Refused, match="stops protecting 1 source of 2"):
        scene.apply()
    scene.hosts.down.add("h2")
    done = scene.apply(confirm=1)
    assert rows(done)["Agent h2"] == "unreachable"
    assert "remove Agent h2" in shown(scene.plan())
    scene.hosts.down.clear()
    assert scene.apply().ok and "h2" not in scene.hosts.running
    certificates = request_json(known.endpoint(), "GET", "/v1/certificates")["certificates"]
    assert {row["host"]: row["revoked"] for row in certificates} == {"h1": False, "h2": True, "h3": False}

    # Named again, it is let in again; revoked by hand, it is not.
    scene.group("b", "h2")
    assert scene.apply().converged
    request_json(known.endpoint(), "POST", "/v1/certificates/revoke", {"host": "h2"})
    plan = scene.plan()
    assert "Agent h2" not in " ".join(shown(plan)) and plan.passed_over[0].startswith("h2: its certificate was revoked")
    assert scene.plan(readmit=["hh2"]).passed_over[-1].startswith("hh2: --readmit has nothing to do")
    plan = scene.plan(readmit=["h2"])
    assert [each.reason for each in plan.actions] == ["is let in again: its certificate was revoked"]
    assert shown(plan) == ["create Agent h2"] and not plan.passed_over
    certificate = scene.hosts.folder / "h2" / "identity" / "host.pem"
    eventually(lambda: not certificate.exists(), "the agent to put away what was revoked")
    assert scene.apply(plan).converged and scene.plan().noop


def test_a_shorter_retention_tells_how_many_points_go(scene: Scene) -> None:
    scene.apply()
    scene.group("a", "h1", more="  retention: {tiers: [{keep: 1h, for: 1d}]}\n")
    plan = scene.plan()
    assert plan.guard.shortens == ("a/h1/files",) and plan.guard.needed
    (counted,) = [action.points_removed for action in plan.actions if action.kind == "Source"]
    assert counted is not None and counted >= 0
    with pytest.raises(Refused, match="shortens the retention of 1 source"):
        scene.apply(plan)
    known = credentials.read("sf")
    assert known is not None
    stream = plan.desired.sources[0].stream_id
    with pytest.raises(UsageError, match="are no retention"):
        request_json(known.endpoint(), "GET", f"/v1/streams/{stream}/expiring?tiers=7")


def test_a_silent_node_is_healed_and_the_rest_shows_then(scene: Scene) -> None:
    scene.apply()
    scene.hosts.stop_node()
    scene.group("a", "h1", rpo="7s")
    plan = scene.plan()
    assert shown(plan) == ["start Node n1"] and plan.unknown == ("sf",)
    assert "does not answer" in plan.actions[0].reason
    done = scene.apply(plan)
    assert done.again and not done.converged and rows(done) == {"Node n1": "changed"}
    plan = scene.plan()
    assert "update Source a/h1/files" in shown(plan)
    assert scene.apply(plan).converged


def test_a_node_that_can_not_be_deployed_is_a_row_and_nothing_else_is_tried(scene: Scene) -> None:
    scene.hosts.down.add("n1")
    done = scene.apply()
    assert rows(done) == {"Node n1": "unreachable"} and not done.converged
    assert credentials.read("sf") is None and not scene.hosts.deployed


def test_credentials_that_are_lost_are_made_anew_and_what_was_applied_is_not_overwritten(scene: Scene) -> None:
    scene.apply()
    credentials.forget("sf")
    plan = scene.plan()
    assert "create Node n1" in shown(plan)
    done = scene.apply(plan)
    assert done.again and done.numbers == {"sf": 1}
    assert scene.plan().noop and scene.plan().bases == {"sf": 1}


def test_credentials_of_another_journal_are_refused(scene: Scene) -> None:
    scene.apply()
    known = credentials.read("sf")
    assert known is not None
    scene.hosts.stop_node()
    shutil.rmtree(scene.hosts.folder / "node-sf" / "journal")
    for file in (scene.hosts.folder / "node-sf" / "node").glob("tls.*"):
        file.unlink()
    done = scene.apply()
    assert rows(done) == {"Node n1": "failed"} and "another authority" in done.results[0].message
    assert credentials.read("sf") == known
    with pytest.raises(Refused, match="is not the site sf that these credentials are for"):
        scene.plan()


def test_of_two_applies_the_later_is_refused_and_a_saved_plan_knows_it(scene: Scene, tmp_path: Path) -> None:
    scene.apply(wait=False)
    scene.group("a", "h1", rpo="7s")
    late, file = scene.plan(), tmp_path / "saved.plan"
    save_plan(file, scene.home, late, ORIGIN)
    scene.apply(read_plan(file, scene.home)[0], wait=False)
    with pytest.raises(Refused, match="another change of the policies came first"):
        scene.apply(late)
    with pytest.raises(Refused, match="made from apply 1, but number 2"):
        read_plan(file, scene.home)


def test_an_agent_that_does_not_report_is_a_failed_row_and_drift(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apply_site, "REPORT_SECONDS", 15.0)  # in which the others have to have reported
    deploy = scene.hosts._deploy

    def deploy_all_but_h2(site: Site, host: str, ca_pem: str, enrolment: str) -> HostOutcome:
        return HostOutcome("changed") if host == "h2" else deploy(site, host, ca_pem, enrolment)

    monkeypatch.setattr(scene.hosts, "_deploy", deploy_all_but_h2)
    done = scene.apply(wait_seconds=15.0)
    assert rows(done)["Agent h2"] == "failed" and rows(done)["Source a/h1/files"] == "protected"
    row = next(row for row in done.results if row.name == "h2")
    assert "did not report within" in row.message and "journalctl" in row.hint
    source = next(row for row in done.results if row.name == "b/h2/files")
    assert not source.ok and "did not report" in source.message
    assert shown(scene.plan()) == ["create Agent h2"]


def test_a_host_that_left_the_inventory_loses_its_certificate(scene: Scene) -> None:
    scene.apply()
    (scene.repository / "b.yaml").unlink()
    inventory = scene.repository / "inventory" / "hosts.yml"
    inventory.write_text("all: {hosts: {n1: {}, h1: {}, h3: {}}}\n")
    done = scene.apply(confirm=1)
    assert done.ok and rows(done)["Agent h2"] == "changed"
    assert scene.plan().noop


def test_what_fails_at_one_site_keeps_no_other_from_going_on(scene: Scene) -> None:
    scene.site("{}", "boston", "n2", free_port())
    scene.group("c", "h4", site="boston")
    scene.hosts.down.add("n2")
    done = scene.apply()
    assert rows(done)["Node n2"] == "unreachable" and rows(done)["Source a/h1/files"] == "protected"
    assert done.numbers == {"boston": 0, "sf": 1} and not done.converged
    assert "Agent h4" not in rows(done)
    scene.hosts.down.clear()
    assert {action.site for action in scene.plan().actions} == {"boston"}
    done = scene.apply()
    assert done.converged and done.numbers == {"boston": 1, "sf": 1}
    assert rows(done)["Source c/h4/files"] == "protected"
    assert scene.plan().noop and credentials.sites() == ["boston", "sf"]


def test_checks_look_at_every_host(scene: Scene, tmp_path: Path) -> None:
    found = check_hosts(tmp_path / "cache", scene.plan(), lambda event: None)
    assert [(row.kind, row.name, row.state, diff) for row, diff in found] == [
        ("Node", "n1", "changed", ("+ node",)),
        ("Agent", "h1", "ok", ()),
        ("Agent", "h2", "ok", ()),
        ("Agent", "h3", "ok", ()),
    ]


def test_the_name_of_an_operators_token() -> None:
    assert admin_name("ann@laptop") == "ann@laptop"
    assert admin_name("../a b/c") == "a-b-c"
    assert admin_name("") == "admin"
