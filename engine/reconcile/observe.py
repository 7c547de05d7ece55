"""What there is on this machine, for the plan: the last applied policies, the node and the agent. Changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.deploy import bundle
from engine.journal import control
from engine.plan.observed import ABSENT, RUNNING, STOPPED, Observed, Process
from engine.reconcile import embedded
from engine.store.local import LocalStore


def observe(home: Path) -> Observed:
    """The embedded site below `home`, running or not."""
    version = bundle.version()
    applied = _applied(home)
    return Observed(
        number=applied.get("number", 0),
        documents=applied.get("documents", {}),
        sources=applied.get("sources", {}),
        node=_node(home, version),
        agent=_agent(home),
        version=version,
    )


def _applied(home: Path) -> dict[str, Any]:
    """The last apply, as recorded. Read from the journal itself: it holds whether or not a node runs."""
    journal = home / "journal"
    if not (journal / "control").is_dir():
        return {}
    return control.latest(LocalStore(journal), control.POLICIES) or {}


def _node(home: Path, version: str) -> Process:
    """Node and agent are one program: a node of today's sources has the version of today's agent."""
    pid = embedded.node_pid(home)
    if pid is None or embedded.health(home) is None:
        return Process(STOPPED if (home / "journal" / "bcs.json").exists() else ABSENT)
    running = embedded.started_version(pid, "BCS_NODE_VERSION")
    return Process(RUNNING, version if running == embedded.node_version() else running)


def _agent(home: Path) -> Process:
    pid = embedded.agent_pid(home)
    if pid is not None:
        return Process(RUNNING, embedded.started_version(pid, "BCS_AGENT_VERSION"))
    current = home / "agent" / "versions" / "current"
    return Process(STOPPED, current.readlink().name) if current.is_symlink() else Process(ABSENT)
