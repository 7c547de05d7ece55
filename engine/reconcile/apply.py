"""Carries out a plan: the node first, then the policies, then the agents by Ansible, then the wait for protection.

A host or source that fails is a row of the result, and the others go on. What makes the whole apply pointless, a
node that does not start or a base that is no longer the latest, is raised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.deploy.outcome import Progress
from engine.env.clock import SYSTEM, Clock
from engine.env.endpoint import request_json
from engine.model.errors import BcsError, Refused
from engine.model.policy.site import EMBEDDED_HOST, EMBEDDED_SITE
from engine.plan.reconcile import Plan
from engine.reconcile import embedded
from engine.reconcile.provenance import Provenance

POLL_SECONDS = 0.1
SILENT_SECONDS = 10.0
"""An agent that is neither heard of nor alive for so long has failed."""
NODE, AGENT = "Node", "Agent"


@dataclass(frozen=True, slots=True)
class Step:
    """Something begins; one line for people."""

    text: str


@dataclass(frozen=True, slots=True)
class SourceProgress:
    """How far a source is. Totals are None until they are known."""

    address: str
    state: str
    protected: str
    files: int
    bytes: int
    files_total: int | None
    bytes_total: int | None
    done: bool


OnProgress = Callable[[Step | Progress | SourceProgress], None]


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one thing: `state` is ok, changed, failed, unreachable, or the protection of a source."""

    kind: str
    name: str
    state: str
    ok: bool
    message: str = ""
    hint: str = ""

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("kind", "name", "state", "ok", "message", "hint")}


@dataclass(frozen=True, slots=True)
class ApplyResult:
    """`number` is the control number that holds now. `converged`: nothing failed and every source is protected."""

    number: int
    results: tuple[Result, ...]
    converged: bool

    @property
    def ok(self) -> bool:
        return all(result.ok for result in self.results)

    def as_json(self) -> dict[str, Any]:
        results = [result.as_json() for result in self.results]
        return {"number": self.number, "results": results, "converged": self.converged}


def apply(
    home: Path,
    plan: Plan,
    origin: Provenance,
    *,
    wait: bool = False,
    wait_seconds: float | None = None,
    on_progress: OnProgress | None = None,
    clock: Clock = SYSTEM,
) -> ApplyResult:
    """Make `plan` so on this machine.

    With `wait`, return once every source of the embedded site is restorable and up to date, or has failed, or
    `wait_seconds` are over. Raises Refused when another apply came first or a group is for another site, Failed when
    the node does not start.
    """
    refuse_other_sites(plan)
    tell = on_progress or (lambda progress: None)
    results: list[Result] = []
    number = plan.base
    if not plan.noop:
        results.append(_start_node(home, tell, clock))
        if any(action.kind not in (NODE, AGENT) for action in plan.actions):
            number = _record(home, plan, origin)
        if any(action.kind == AGENT for action in plan.actions):
            results.append(_deploy(home, tell))
    if plan.desired.embedded and wait and all(result.ok for result in results):
        results += _await_protection(home, wait_seconds, tell, clock)
    rows = _rows(home) if plan.desired.embedded else {}
    converged = all(result.ok for result in results) and all(_protected(row) for row in rows.values())
    return ApplyResult(number, tuple(results), converged)


def refuse_other_sites(plan: Plan) -> None:
    """Refused for groups that the embedded site can't protect: recording them would pretend that they are."""
    for group in plan.desired.groups:
        if group.site != EMBEDDED_SITE:
            raise Refused(
                f"group {group.name} is for site '{group.site}', and only this machine's own can be carried out yet",
                hint=f"leave `site` out, or apply the groups of site '{EMBEDDED_SITE}' by their files",
            )


def _start_node(home: Path, tell: OnProgress, clock: Clock) -> Result:
    tell(Step("starting the node"))
    started = embedded.start_node(home, clock=clock)
    return Result(NODE, EMBEDDED_SITE, "changed" if started else "ok", True)


def _record(home: Path, plan: Plan, origin: Provenance) -> int:
    body = {
        "base": plan.base,
        **plan.desired.as_json(),
        "by": origin.by,
        "commit": origin.commit,
        "dirty": origin.dirty,
    }
    return int(request_json(_socket(home), "POST", "/v1/policies", body)["number"])


def _deploy(home: Path, tell: OnProgress) -> Result:
    # Ansible takes a moment to import, which an apply without changes need not pay.
    from engine.reconcile.deployment import deploy_agent

    tell(Step("deploying the agent"))
    try:
        outcome = deploy_agent(home, tell)
    except BcsError as error:
        return Result(AGENT, EMBEDDED_HOST, "failed", False, error.message, error.hint)
    return Result(AGENT, EMBEDDED_HOST, outcome.state, outcome.ok, outcome.message, outcome.hint)


def _await_protection(home: Path, wait_seconds: float | None, tell: OnProgress, clock: Clock) -> Iterator[Result]:
    """A result for each source, once it is protected or never will be."""
    begun = alive_at = clock.monotonic()
    seen: dict[str, SourceProgress] = {}
    while True:
        rows = _rows(home)
        for address, row in rows.items():
            progress = _progress(address, row)
            if seen.get(address) != progress:
                seen[address] = progress
                tell(progress)
        now = clock.monotonic()
        if embedded.agent_pid(home) is not None:
            alive_at = now
        open_rows = [row for row in rows.values() if not _protected(row) and row["state"] != "failed"]
        late = wait_seconds is not None and now - begun > wait_seconds
        dead = now - alive_at > SILENT_SECONDS
        if not open_rows or late or dead:
            why = "the agent is not running" if dead else f"not protected after {wait_seconds} s" if late else ""
            for address, row in rows.items():
                yield _result(home, address, row, why)
            return
        clock.sleep(POLL_SECONDS)


def _rows(home: Path) -> dict[str, dict[str, Any]]:
    """{address: row} of the node's status, in order."""
    status = request_json(_socket(home), "GET", "/v1/status")
    return {row["address"]: row for group in status["groups"] for row in group["sources"]}


def _protected(row: Mapping[str, Any]) -> bool:
    """The agent says so too: until it does, what it counts is still the beginning of the baseline."""
    known = row["point"] is not None and bool(row["baseline"].get("done"))
    return known and row["protected"] == "protected" and row["synced"] == "synced"


def _progress(address: str, row: Mapping[str, Any]) -> SourceProgress:
    baseline = row["baseline"]
    return SourceProgress(
        address,
        row["state"],
        row["protected"],
        int(baseline.get("files", 0)),
        int(baseline.get("bytes", 0)),
        baseline.get("files_total"),
        baseline.get("bytes_total"),
        _protected(row),
    )


def _result(home: Path, address: str, row: Mapping[str, Any], why: str) -> Result:
    if _protected(row):
        return Result("Source", address, "protected", True)
    message = str(row.get("message") or why or "the agent could not protect it")
    return Result("Source", address, row["protected"], False, message, f"read {home / 'agent' / 'log'}")


def _socket(home: Path) -> Path:
    return home / "run" / "node.sock"
