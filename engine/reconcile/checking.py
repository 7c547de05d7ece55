"""What Ansible would change on the hosts of the sites of a plan: its check mode, with differences. Changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.deploy import agents, nodes
from engine.deploy.inventory import config_of
from engine.deploy.outcome import HostOutcome
from engine.env import credentials
from engine.model.errors import BcsError
from engine.model.policy.site import EMBEDDED_SITE, Site
from engine.plan.actions import AGENT, NODE
from engine.plan.reconcile import Plan
from engine.reconcile.results import OnProgress, Result, Step

Checked = tuple[Result, tuple[str, ...]]
"""What came of looking at one host, and the differences that it would see."""


def check_hosts(cache: Path, plan: Plan, tell: OnProgress) -> list[Checked]:
    """Each node and agent of the plan's sites, whether or not the plan has something for it."""
    sites = [site for site in plan.desired.sites if site.name in plan.bases and site.name != EMBEDDED_SITE]
    return [row for site in sites for row in _of_site(cache, site, plan.desired.agents.get(site.name, ()), tell)]


def as_json(checked: Checked) -> dict[str, Any]:
    result, differences = checked
    return {**result.as_json(), "diff": list(differences)}


def _of_site(cache: Path, site: Site, hosts: tuple[str, ...], tell: OnProgress) -> list[Checked]:
    tell(Step(f"looking at the hosts of site {site.name}"))
    credential = credentials.read(site.name)
    rows: list[Checked] = []
    config = config_of(Path(site.inventory))
    for node in site.nodes:
        try:
            found = nodes.deploy_node(site, node.host, cache=cache, config=config, on_event=tell, check=True).host
        except BcsError as error:
            found = HostOutcome("failed", error.message, error.hint)
        rows.append(_checked(NODE, node.host, found, site))
    ca_pem = credential.ca if credential else ""
    try:
        outcome = agents.deploy_agents(
            site, hosts, cache=cache, ca_pem=ca_pem, config=config, on_event=tell, check=True
        )
        rows += [_checked(AGENT, host, found, site) for host, found in outcome.hosts.items()]
    except BcsError as error:
        rows += [_checked(AGENT, host, HostOutcome("failed", error.message, error.hint), site) for host in hosts]
    return rows


def _checked(kind: str, host: str, found: HostOutcome, site: Site) -> Checked:
    result = Result(kind, host, found.state, found.ok, found.message, found.hint, site.name)
    return result, found.diff
