"""The agent of the embedded site, deployed to this machine by the same playbook as to any other."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.deploy import bundle
from engine.deploy.outcome import HostOutcome, Progress
from engine.deploy.runner import local_inventory, run_playbook
from engine.model.policy.site import EMBEDDED_HOST
from engine.reconcile import embedded, units


def deploy_agent(home: Path, on_event: Callable[[Progress], None] | None = None, *, check: bool = False) -> HostOutcome:
    """Have the agent of this program's version run on this machine."""
    embedded.make_home(home)
    built = bundle.build(home / "cache" / "bundles")
    variables = {
        **_common(home),
        "agent_bundle": str(built.path),
        "agent_version": built.version,
        "agent_host": EMBEDDED_HOST,
        "agent_socket": str(home / "run" / "node.sock"),
        "agent_python": sys.executable,
        "agent_service": "systemd" if units.wanted() else "detached",
    }
    return _run("agent.yml", home, variables, on_event, check)


def remove_agent(home: Path, on_event: Callable[[Progress], None] | None = None) -> HostOutcome:
    """Take the agent off this machine; the history stays."""
    return _run("remove.yml", home, _common(home), on_event, False)


def _common(home: Path) -> dict[str, Any]:
    return {
        "agent_root": str(home / "agent" / "versions"),
        "agent_home": str(home),
        "agent_unit": units.name("agent", home),
    }


def _run(
    playbook: str, home: Path, variables: dict[str, Any], on_event: Callable[[Progress], None] | None, check: bool
) -> HostOutcome:
    outcome = run_playbook(playbook, local_inventory(home), variables, check=check, on_event=on_event)
    return outcome.hosts[EMBEDDED_HOST]
