"""Agents on the hosts of a site: one run of a playbook over all of them, whatever their Python and machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.deploy.outcome import HostOutcome, Outcome, Progress
from engine.deploy.runner import run_playbook
from engine.model.policy.site import Site

HOME = "/var/lib/bcs-agent"
ROOT = "/opt/bcs-agent"
UNIT = "bcs-agent"
LAUNCHER = "/usr/local/bin/bcs-agent"


def deploy_agents(
    site: Site,
    hosts: Sequence[str],
    *,
    cache: Path,
    ca_pem: str,
    urls: Sequence[str] = (),
    enrolments: Mapping[str, str] | None = None,
    version: str = "",
    config: Path | None = None,
    on_event: Callable[[Progress], None] | None = None,
    check: bool = False,
) -> Outcome:
    """Have an agent run on each of `hosts` and report to the site's nodes; a row for each of them.

    `cache` is the controller's, where bundles and wheels are kept. `urls` are the nodes', by default those of the Site
    document. `enrolments` are one-time tokens by host: a host that has a certificate that holds gets none. `version`
    is an older one that is still on the hosts, to roll back to; by default this program's. Facts of a row: python,
    machine, enrolled (before the run), version. Raises Failed when Ansible could not run at all.
    """
    variables: dict[str, Any] = {
        "agent_root": ROOT,
        "agent_home": HOME,
        "agent_unit": UNIT,
        "agent_launcher": LAUNCHER,
        "agent_cache": str(cache),
        "agent_version": version,
        "agent_service": "systemd",
        "agent_urls": list(urls) or [node.url for node in site.nodes],
        "agent_ca": ca_pem,
        "agent_enrolments": dict(enrolments or {}),
        "agent_settings": _settings(site),
    }
    return _run("agent.yml", site, hosts, variables, config, on_event, check)


def remove_agents(
    site: Site,
    hosts: Sequence[str],
    *,
    config: Path | None = None,
    on_event: Callable[[Progress], None] | None = None,
    check: bool = False,
) -> Outcome:
    """Stop the agents of `hosts` and remove all that is theirs. What they protected stays, the history too."""
    variables: dict[str, Any] = {"agent_root": ROOT, "agent_home": HOME, "agent_unit": UNIT, "agent_launcher": LAUNCHER}
    variables |= {"agent_service": "systemd", "agent_owns_home": True}
    return _run("remove.yml", site, hosts, variables, config, on_event, check)


def _run(
    playbook: str,
    site: Site,
    hosts: Sequence[str],
    variables: Mapping[str, Any],
    config: Path | None,
    on_event: Callable[[Progress], None] | None,
    check: bool,
) -> Outcome:
    if not hosts:
        return Outcome({})
    inventory = Path(site.inventory)
    outcome = run_playbook(
        playbook, inventory, variables, limit=",".join(hosts), check=check, config=config, on_event=on_event
    )
    return Outcome({host: outcome.hosts.get(host) or absent(host, inventory) for host in hosts})


def absent(host: str, inventory: Path) -> HostOutcome:
    """The row of a host that Ansible passed over."""
    return HostOutcome("failed", f"the inventory {inventory} has no host {host}", "add it there, or correct the name")


def settings_digest(site: Site) -> str:
    """What an agent of the site tells its node of what bounds its service: the role leaves it on the host."""
    return hashlib.sha1(json.dumps(_settings(site), sort_keys=True).encode()).hexdigest()


def _settings(site: Site) -> dict[str, int]:
    """What bounds the service from outside; a running agent is told the rest by its node."""
    agent = site.agent
    return {"memory_limit_bytes": agent.memory_limit, "cpu_weight": agent.cpu_weight, "io_weight": agent.io_weight}
