"""Which sites a set of documents concerns, and plans over several of them with stand-ins for their nodes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from engine.env import credentials
from engine.model.errors import Refused
from engine.plan.observed import ABSENT, RUNNING, AgentSeen, Observed, Process
from engine.plan.reconcile import Plan, check_guards
from engine.reconcile import observe_site, planning
from engine.reconcile.load import load
from engine.reconcile.planning import deployed_site, make_plan, site_names
from engine.reconcile.provenance import Provenance
from engine.reconcile.saved_plan import read_plan, save_plan

HEAD = "apiVersion: bcs/v1alpha1\nkind: {}\nmetadata: {{name: {}}}\nspec:\n"
INVENTORY = "all: {children: {db: {hosts: {h1: {}, h2: {}}}, other: {hosts: {n1: {}, n2: {}, h3: {}}}}}\n"


class Fleet:
    """What the nodes of sites would say, and what was asked of them."""

    def __init__(self) -> None:
        self.there: dict[str, Observed] = {}
        self.asked: list[str] = []

    def observe(self, site: str) -> Observed:
        self.asked.append(site)
        fresh = Observed(site=site, version="1.0", node_version="2.0", node=Process(ABSENT))
        return self.there.get(site, fresh)

    def applied(self, plan: Plan, site: str, number: int = 1) -> None:
        recorded = planning.part_of(plan.desired, site).as_json()
        hosts = tuple(recorded["agents"])
        self.there[site] = Observed(
            number, recorded["documents"], recorded["sources"], Process(RUNNING, "2.0"), site=site, hosts=hosts,
            agents=dict.fromkeys(hosts, AgentSeen(RUNNING, "1.0")), version="1.0", node_version="2.0",
        )  # fmt: skip


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Fleet:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("BCS_URL", raising=False)
    fleet = Fleet()
    monkeypatch.setattr(observe_site, "observe_site", fleet.observe)
    return fleet


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    (folder / "inventory").mkdir(parents=True)
    (folder / "inventory" / "hosts.yml").write_text(INVENTORY)
    site(folder, "sf", "n1", "file:///j")
    group(folder, "finance", "db", site="sf")
    return folder


def site(folder: Path, name: str, node: str, url: str) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(
        HEAD.format("Site", name)
        + f"  inventory: inventory/hosts.yml\n  nodes: [{{host: {node}, url: 'https://{node}:8440'}}]\n"
        + f"  storage: {{url: '{url}'}}\n"
    )
    return path


def group(folder: Path, name: str, hosts: str = "", site: str = "", more: str = "") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(
        HEAD.format("ProtectionGroup", name)
        + f"  sources: [{{files: {{paths: [/srv/{name}]}}}}]\n"
        + (f"  hosts: {hosts}\n" if hosts else "")
        + (f"  site: {site}\n" if site else "")
        + more
    )
    return path


def shown(plan: Plan) -> list[str]:
    return [f"{each.site}: {each.action} {each.kind} {each.name}" for each in plan.actions]


def test_which_sites_documents_concern(repository: Path) -> None:
    assert site_names(load([repository]), "local") == {"sf"}
    group(repository, "notes")
    assert site_names(load([repository]), "local") == {"sf", "local"}
    assert site_names(load([repository / "notes.yaml"]), "boston") == {"boston"}
    defaults = repository / "defaults.yaml"
    defaults.write_text(HEAD.format("Defaults", "all") + "  site: sf\n")
    assert site_names(load([repository / "notes.yaml", defaults]), "local") == {"sf"}
    gold = repository / "gold.yaml"
    gold.write_text(HEAD.format("RetentionPolicy", "gold") + "  tiers: [{keep: 1h, for: 1d}]\n")
    assert site_names(load([gold]), "local") == set()


def test_a_whole_repository_of_a_site(repository: Path, fleet: Fleet, tmp_path: Path) -> None:
    home = tmp_path / "home"
    plan = make_plan(home, [repository])
    assert shown(plan) == [
        "sf: create Node n1",
        "sf: create Agent h1",
        "sf: create Agent h2",
        "sf: create Site sf",
        "sf: create ProtectionGroup finance",
        "sf: create Source finance/h1/files",
        "sf: create Source finance/h2/files",
    ]
    fleet.applied(plan, "sf", 5)
    again = make_plan(home, [repository])
    assert again.noop and again.bases == {"sf": 5}


def test_a_part_is_completed_by_what_was_applied(repository: Path, fleet: Fleet, tmp_path: Path) -> None:
    home = tmp_path / "home"
    defaults = repository / "defaults.yaml"
    defaults.write_text(HEAD.format("Defaults", "all") + "  site: sf\n  objectives: {rpo: 30s}\n")
    notes = group(repository, "notes", "other:!n1:!n2")
    fleet.applied(make_plan(home, [repository]), "sf")
    credentials_of(["sf"])
    group(repository, "notes", "other:!n1:!n2", more="  objectives: {rpo: 9s}\n")
    plan = make_plan(home, [notes], partial=True)
    assert shown(plan) == ["sf: update ProtectionGroup notes", "sf: update Source notes/h3/files"]
    check_guards(plan)
    assert plan.passed_over == ()
    # A shared document alone is for the site that commands are about.
    gold = repository / "gold.yaml"
    gold.write_text(HEAD.format("RetentionPolicy", "gold") + "  tiers: [{keep: 1h, for: 1d}]\n")
    assert shown(make_plan(home, [gold], partial=True)) == ["sf: create RetentionPolicy gold"]
    assert "local" not in make_plan(home, [gold], partial=True, site="sf").bases


def test_of_a_directory_is_said_what_it_no_longer_holds(repository: Path, fleet: Fleet, tmp_path: Path) -> None:
    home = tmp_path / "home"
    notes = group(repository, "notes", "h3", site="sf")
    fleet.applied(make_plan(home, [repository]), "sf")
    assert make_plan(home, [repository], partial=True).passed_over == ()
    notes.unlink()
    plan = make_plan(home, [repository], partial=True)
    assert plan.noop and "stays as applied: ProtectionGroup notes; --prune removes it" in plan.passed_over[0]
    pruned = make_plan(home, [repository], partial=True, prune=True)
    assert "sf: remove ProtectionGroup notes" in shown(pruned) and pruned.passed_over == ()


def credentials_of(sites: list[str]) -> None:
    path = credentials.path()
    path.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
    path.write_text(json.dumps({"sites": {site: {"urls": ["https://n1"], "ca": "", "token": "t"} for site in sites}}))
    path.chmod(0o600)


def test_two_sites_and_this_machine_in_one_plan(repository: Path, fleet: Fleet, tmp_path: Path) -> None:
    site(repository, "boston", "n2", "file:///j")
    group(repository, "copies", "h3", site="boston")
    group(repository, "notes")  # with Site documents a group must say that it is here
    (repository / "notes.yaml").write_text((repository / "notes.yaml").read_text() + "  site: local\n")
    plan = make_plan(tmp_path / "home", [repository])
    assert plan.bases == {"local": 0, "boston": 0, "sf": 0}
    assert list(dict.fromkeys(each.site for each in plan.actions)) == ["local", "boston", "sf"]
    assert "boston: create Source copies/h3/files" in shown(plan)


def test_a_remote_store_stands_in_the_way_of_its_own_site_alone(repository: Path, fleet: Fleet, tmp_path: Path) -> None:
    home = tmp_path / "home"
    boston = site(repository, "boston", "n2", "s3://bucket/j")
    group(repository, "finance", "db", site="sf", more="  replicate: [{to: boston}]\n")
    with pytest.raises(Refused, match="site boston can't be carried out: its journal is to be in s3://bucket/j"):
        check_guards(make_plan(home, [repository]))
    part = make_plan(home, [boston, repository / "sf.yaml", repository / "finance.yaml"], partial=True)
    check_guards(part)
    assert "sf: create Source finance/h1/files" in shown(part) and "sf: create Site boston" in shown(part)
    assert len(part.passed_over) == 1 and part.passed_over[0].startswith("site boston: its journal")
    lost = group(repository, "lost", "h3", site="boston")
    with pytest.raises(Refused, match="site boston"):
        check_guards(make_plan(home, [boston, lost], partial=True))


def test_the_home_of_a_deployed_node_is_not_this_machines_own(repository: Path, fleet: Fleet, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "node").mkdir(parents=True)
    (home / "node" / "node.json").write_text('{"site": "sf"}')
    assert deployed_site(home) == "sf"
    assert make_plan(home, [repository]).bases == {"sf": 0}
    notes = group(repository, "notes", site="local")
    with pytest.raises(Refused, match="is the home of the node of site sf"):
        make_plan(home, [notes], partial=True)


def test_a_saved_plan_knows_its_inventories_and_all_bases(repository: Path, fleet: Fleet, tmp_path: Path) -> None:
    home, file = tmp_path / "home", tmp_path / "tonight.plan"
    origin = Provenance("ann@example", "c0ffee", False)
    save_plan(file, home, make_plan(home, [repository]), origin)
    plan, read = read_plan(file, home)
    assert "sf: create Source finance/h2/files" in shown(plan) and read == origin
    (repository / "inventory" / "hosts.yml").write_text(INVENTORY.replace("h2: {}", "h2: {}, h4: {}"))
    with pytest.raises(Refused, match="would no longer do what it showed"):
        read_plan(file, home)
    (repository / "inventory" / "hosts.yml").write_text(INVENTORY)
    fleet.applied(plan, "sf", 1)
    fleet.there["sf"] = replace(fleet.there["sf"], number=3)
    with pytest.raises(Refused, match="made from apply 0, but number 3"):
        read_plan(file, home)
