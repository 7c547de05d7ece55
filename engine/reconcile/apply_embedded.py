"""Carries out what a plan has for this machine: its node, its policies, its agent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.env.clock import Clock
from engine.env.endpoint import UnixEndpoint, request_json
from engine.model.errors import BcsError
from engine.model.policy.resolved import PolicySet
from engine.model.policy.site import EMBEDDED_HOST, EMBEDDED_SITE
from engine.plan.actions import AGENT, NODE
from engine.plan.reconcile import Plan
from engine.reconcile import embedded
from engine.reconcile.protection import Row, Watched
from engine.reconcile.provenance import Provenance
from engine.reconcile.results import OnProgress, Result, SiteResult, Step

POLL_SECONDS = 0.1


def apply_embedded(
    home: Path, plan: Plan, part: PolicySet, origin: Provenance, tell: OnProgress, clock: Clock
) -> SiteResult:
    """Start the node, record the policies, deploy the agent, as far as the plan says.

    Raises Refused when another apply came first, Failed when the node does not start.
    """
    actions = plan.of(EMBEDDED_SITE)
    results: list[Result] = []
    number = plan.bases[EMBEDDED_SITE]
    if actions:
        results.append(_start_node(home, tell, clock))
        if EMBEDDED_SITE in plan.records:
            number = record(UnixEndpoint(_socket(home)), number, part, origin)
        if any(action.kind == AGENT for action in actions):
            results.append(_deploy(home, tell))
    return SiteResult(number, tuple(results), answers=part.embedded)


def watched(home: Path) -> Watched:
    """How the sources of this machine are waited for: for as long as their agent lives."""

    def lost(row: Row) -> str:
        return "" if embedded.agent_pid(home) is not None else "the agent is not running"

    return Watched(
        EMBEDDED_SITE,
        UnixEndpoint(_socket(home)),
        lost,
        dead=lambda row: True,
        hint=lambda row: f"read {home / 'agent' / 'log'}",
        poll_seconds=POLL_SECONDS,
    )


def record(endpoint: Any, base: int, part: PolicySet, origin: Provenance) -> int:
    """Have the node take over a site's policies; their number. Refused when `base` is no longer the latest."""
    body = {
        "base": base,
        **part.as_json(),
        "by": origin.by,
        "commit": origin.commit,
        "dirty": origin.dirty,
    }
    return int(request_json(endpoint, "POST", "/v1/policies", body)["number"])


def _start_node(home: Path, tell: OnProgress, clock: Clock) -> Result:
    started = embedded.start_node(home, clock=clock, on_start=lambda: tell(Step("starting the node")))
    return Result(NODE, EMBEDDED_SITE, "changed" if started else "ok", True)


def _deploy(home: Path, tell: OnProgress) -> Result:
    # Ansible takes a moment to import, which an apply without changes need not pay.
    from engine.reconcile.deployment import deploy_agent

    tell(Step("deploying the agent"))
    try:
        outcome = deploy_agent(home, tell)
    except BcsError as error:
        return Result(AGENT, EMBEDDED_HOST, "failed", False, error.message, error.hint)
    return Result(AGENT, EMBEDDED_HOST, outcome.state, outcome.ok, outcome.message, outcome.hint)


def _socket(home: Path) -> Path:
    return home / "run" / "node.sock"
