"""The agent of the embedded site, deployed to this machine by the same playbook as to any other."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from engine.deploy.outcome import HostOutcome, Progress
from engine.deploy.runner import local_inventory, run_playbook
from engine.model.policy.site import EMBEDDED_HOST
from engine.reconcile import embedded, units


def deploy_agent(home: Path, on_event: Callable[[Progress], None] | None = None, *, check: bool = False) -> HostOutcome:
    """Have the agent of this program's version run on this machine."""
    embedded.make_home(home)
    variables = {
        "agent_root": str(home / "agent" / "versions"),
        "agent_home": str(home),
        "agent_unit": units.name("agent", home),
        "agent_cache": str(home / "cache"),
        "agent_log": str(home / "agent" / "log"),
        "agent_host": EMBEDDED_HOST,
        "agent_socket": str(home / "run" / "node.sock"),
        "agent_python": sys.executable,
        "agent_service": "systemd" if units.wanted() else "detached",
    }
    outcome = run_playbook("agent.yml", local_inventory(home), variables, check=check, on_event=on_event)
    return outcome.hosts[EMBEDDED_HOST]
