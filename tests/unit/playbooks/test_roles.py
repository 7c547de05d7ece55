"""Every variable of a role is described with its type, and whoever runs a role hands over only such."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.deploy import agents, nodes
from engine.deploy.outcome import Outcome
from engine.deploy.runner import PLAYBOOKS
from engine.model.errors import UsageError
from engine.model.policy.site import AgentSettings, Site, SiteNode, Storage

ROLES = sorted(path.name for path in (PLAYBOOKS / "roles").iterdir())
SITE = Site(
    "sf",
    (SiteNode("sf-bcs1", "https://sf-bcs1:9443"),),
    Storage("file:///var/lib/bcs/the%20journal", 5_000),
    inventory="/etc/bcs/hosts.yml",
    agent=AgentSettings(memory_limit=1 << 29, cpu_weight=20),
)


def described(role: str, entry: str = "main") -> dict[str, Any]:
    specs = yaml.safe_load((PLAYBOOKS / "roles" / role / "meta" / "argument_specs.yml").read_text())
    return dict(specs["argument_specs"][entry]["options"])


@pytest.fixture
def handed_over(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    taken: list[dict[str, Any]] = []

    def run(playbook: str, inventory: Path, variables: dict[str, Any], **options: Any) -> Outcome:
        taken.append({"playbook": playbook, "inventory": inventory, **variables, **options})
        return Outcome({})

    monkeypatch.setattr(agents, "run_playbook", run)
    monkeypatch.setattr(nodes, "run_playbook", run)
    return taken


@pytest.mark.parametrize("role", ROLES)
def test_each_default_is_described(role: str) -> None:
    defaults = yaml.safe_load((PLAYBOOKS / "roles" / role / "defaults" / "main.yml").read_text())
    entries = [described(role), *([described(role, "remove")] if role == "agent" else [])]
    known = {name for options in entries for name in options}
    assert set(defaults) <= known
    unset = {name for options in entries for name, option in options.items() if not option.get("required")}
    assert unset <= set(defaults)
    assert all(option["description"] for options in entries for option in options.values())


def test_agents_are_handed_what_the_role_knows(handed_over: list[dict[str, Any]], tmp_path: Path) -> None:
    rows = agents.deploy_agents(SITE, ["a", "b"], cache=tmp_path, ca_pem="PEM", enrolments={"a": "t"}, check=True)
    (run,) = handed_over
    variables = {name: value for name, value in run.items() if name.startswith("agent_")}
    assert set(variables) <= set(described("agent"))
    assert set(variables["agent_settings"]) <= set(described("agent")["agent_settings"]["options"])
    assert (variables["agent_urls"], run["limit"], run["check"]) == (["https://sf-bcs1:9443"], "a,b", True)
    assert {host: row.state for host, row in rows.hosts.items()} == {
        "a": "failed",
        "b": "failed",
    }  # Ansible said nothing
    assert "has no host a" in rows.hosts["a"].message
    assert agents.deploy_agents(SITE, [], cache=tmp_path, ca_pem="PEM").hosts == {} and len(handed_over) == 1


def test_a_node_is_handed_what_the_role_knows(handed_over: list[dict[str, Any]], tmp_path: Path) -> None:
    done = nodes.deploy_node(SITE, "sf-bcs1", cache=tmp_path, admins={"ann": "ab" * 32})
    (run,) = handed_over
    variables = {name: value for name, value in run.items() if name.startswith("node_")}
    assert set(variables) <= set(described("node"))
    settings = variables["node_settings"]
    assert set(settings) <= set(described("node")["node_settings"]["options"])
    assert (settings["listen"], settings["journal"]) == ("0.0.0.0:9443", "/var/lib/bcs/the journal")
    assert (done.host.state, done.ca_pem, done.version) == ("failed", "", "")


def test_a_store_that_is_no_directory_is_refused(handed_over: list[dict[str, Any]], tmp_path: Path) -> None:
    remote = Site("sf", SITE.nodes, Storage("s3://bucket/x", 1), inventory="/etc/bcs/hosts.yml")
    with pytest.raises(UsageError, match="s3://bucket/x"):
        nodes.deploy_node(remote, "sf-bcs1", cache=tmp_path)
    assert not handed_over
