"""Carries out what a plan has for a site with a node of its own: node, credentials, policies, agents, removals.

Each host is a row; one that fails keeps no other from going on, and the next plan shows what is left to do.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from engine.deploy import agents, bundle, nodes
from engine.deploy.inventory import config_of, listed
from engine.deploy.outcome import HostOutcome, Outcome
from engine.env import credentials, durable, randomness
from engine.env.clock import Clock
from engine.env.credentials import Credential
from engine.env.endpoint import Endpoint, TlsEndpoint, request_json
from engine.model.errors import BcsError, Unreachable
from engine.model.policy.resolved import PolicySet
from engine.model.policy.site import Site
from engine.plan.actions import AGENT, NODE, REMOVE, Action
from engine.plan.observed import RUNNING, AgentSeen
from engine.plan.reconcile import Plan
from engine.reconcile.apply_embedded import record
from engine.reconcile.observe_site import agents_of, refuse_strange
from engine.reconcile.protection import Row, Watched, host_of
from engine.reconcile.provenance import Provenance
from engine.reconcile.results import OnProgress, Result, SiteResult, Step

POLL_SECONDS = 0.3
REPORT_SECONDS = 60.0
"""An agent that was started and has not reported within this time has not come up, or can't reach its node."""
TOKEN_BYTES = 32
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9@._-]+")


def apply_site(
    home: Path,
    site: str,
    plan: Plan,
    part: PolicySet,
    origin: Provenance,
    tell: OnProgress,
    clock: Clock,
    wait_seconds: float | None = None,
) -> SiteResult:
    """Do what the plan says for this site. Raises Refused when another apply came first. An agent that was started may
    take `wait_seconds` to report, if that is longer than it usually may."""
    actions, base = plan.of(site), plan.bases[site]
    declared = next((each for each in part.sites if each.name == site), None)
    if declared is None:
        return SiteResult(base)
    results: list[Result] = []
    credential = credentials.read(site)
    for action in actions:
        if action.kind == NODE:
            result, credential = _node(home, declared, action, credential, origin, tell)
            results.append(result)
    if credential is None or not all(result.ok for result in results):
        return SiteResult(base, tuple(results))
    endpoint = credential.endpoint()
    if results:
        # The plan was made of what was known then: a node that could not be asked may have policies already.
        number = int(request_json(endpoint, "GET", "/v1/policies/latest")["number"])
        if site in plan.unknown or number != base:
            return SiteResult(number, tuple(results), again=True)
    number = record(endpoint, base, part, origin) if site in plan.records else base
    seconds = max(REPORT_SECONDS, wait_seconds or 0)
    deployed = _deployed(home, declared, actions, credential, tell, clock, seconds)
    rows = [*deployed, *_removed(declared, actions, endpoint, tell)]
    lost = {row.name: f"{row.state}: {row.message}" for row in rows if not row.ok}
    return SiteResult(number, (*results, *rows), answers=True, lost=lost)


def watched(site: str) -> Watched:
    """How the sources of a site are waited for: for as long as their agents report to its node."""
    credential = credentials.read(site)
    assert credential is not None, "asked only where the node has answered"

    def lost(row: Row) -> str:
        return "" if row["healthy"] in ("healthy", "failing") else f"its agent is {row['healthy']}"

    def hint(row: Row) -> str:
        return f"look at {host_of(row['address'])}: journalctl -u {agents.UNIT}"

    def dead(row: Row) -> bool:
        return bool(row["healthy"] == "refused")

    return Watched(site, credential.endpoint(), lost, dead, hint, POLL_SECONDS)


def _node(
    home: Path, site: Site, action: Action, credential: Credential | None, origin: Provenance, tell: OnProgress
) -> tuple[Result, Credential | None]:
    """The node's row, and the credentials with which it answers; new ones where there were none."""
    host = action.name
    tell(Step(f"deploying the node of site {site.name} on {host}"))
    token = credential.token if credential else f"bcs_{randomness.token_hex(TOKEN_BYTES)}"
    admins = {} if credential else {admin_name(origin.by): hashlib.sha256(token.encode()).hexdigest()}
    try:
        done = nodes.deploy_node(
            site, host, cache=_cache(home), admins=admins, config=config_of(Path(site.inventory)), on_event=tell
        )
        row = done.host
        if row.ok and not done.ca_pem:
            row = HostOutcome("failed", "the node told nobody its authority", "run the same apply again")
        if row.ok and credential and done.ca_pem.strip() != credential.ca.strip():
            row = HostOutcome(
                "failed",
                f"the node on {host} has another authority than the site's: its journal is another one",
                "bring the journal and its master key back; or, to begin anew, forget the site: `bcsctl logout`",
            )
    except BcsError as error:
        row = HostOutcome("failed", error.message, error.hint)
    result = _row(NODE, host, row, site.name)
    if not result.ok:
        return result, credential
    urls = tuple(node.url for node in site.nodes)
    known = Credential(site.name, urls, done.ca_pem, token)
    if credential is None or (credential.urls != urls and not _token_is_lent()):
        credentials.write(site.name, urls, done.ca_pem, token)
    return _answering(result, known), known


def _answering(result: Result, credential: Credential) -> Result:
    """The node's row, failed when the node can't be asked from here though it runs."""
    try:
        request_json(credential.endpoint(), "GET", "/v1/policies/latest")
    except Unreachable as error:
        refuse_strange(credential.site, credential, error)
        hint = "check the node's url in the Site document, its name service and firewalls"
        return Result(NODE, result.name, "unreachable", False, error.message, hint, result.site)
    return result


def _token_is_lent() -> bool:
    """Whether the token came from the environment: it is not ours to keep."""
    return bool(os.environ.get("BCS_TOKEN") or os.environ.get("BCS_TOKEN_FILE"))


def admin_name(by: str) -> str:
    """A name for the file of an operator's token, out of USER@HOST."""
    return _NOT_IN_NAMES.sub("-", by).strip("-.") or "admin"


def _deployed(
    home: Path,
    site: Site,
    actions: Sequence[Action],
    credential: Credential,
    tell: OnProgress,
    clock: Clock,
    seconds: float,
) -> Iterator[Result]:
    """A row for each host whose agent is to be created, started, upgraded or given other settings."""
    hosts = [action.name for action in actions if action.kind == AGENT and action.action != REMOVE]
    if not hosts:
        return
    endpoint = credential.endpoint()
    tell(Step(f"deploying the agent on {_counted(hosts)} of site {site.name}"))
    try:
        seen = agents_of(endpoint, {})
        enrolments = {host: _enrolment(endpoint, host) for host in hosts if not _runs(seen.get(host))}
        outcome = agents.deploy_agents(
            site,
            hosts,
            cache=_cache(home),
            ca_pem=credential.ca,
            urls=[node.url for node in site.nodes],
            enrolments=enrolments,
            config=config_of(Path(site.inventory)),
            on_event=tell,
        )
    except BcsError as error:
        yield from (Result(AGENT, host, "failed", False, error.message, error.hint, site.name) for host in hosts)
        return
    waited_for = [host for host in hosts if outcome.hosts[host].ok]
    tell(Step(f"waiting for {_counted(waited_for)} to report"))
    silent = _await_reports(endpoint, site, waited_for, clock, seconds)
    for host in hosts:
        row = outcome.hosts[host]
        if host in silent:
            row = HostOutcome(
                "failed",
                f"its agent was started and did not report within {seconds:.0f} s",
                f"does {host} reach {', '.join(credential.urls)}? On it: journalctl -u {agents.UNIT}",
            )
        yield _row(AGENT, host, row, site.name)


def _runs(seen: AgentSeen | None) -> bool:
    return seen is not None and seen.state == RUNNING


def _enrolment(endpoint: Endpoint, host: str) -> str:
    return str(request_json(endpoint, "POST", "/v1/enrolments", {"host": host})["token"])


def _await_reports(endpoint: Endpoint, site: Site, hosts: Sequence[str], clock: Clock, seconds: float) -> set[str]:
    """Wait until the agents of these hosts have reported as those that were deployed; those that have not."""
    version, settings = bundle.version(), agents.settings_digest(site)
    ends_at = clock.monotonic() + seconds
    while True:
        seen = agents_of(endpoint, {})
        missing = {host for host in hosts if not _is_as_deployed(seen.get(host), version, settings)}
        if not missing or clock.monotonic() >= ends_at:
            return missing
        clock.sleep(POLL_SECONDS)


def _is_as_deployed(seen: AgentSeen | None, version: str, settings: str) -> bool:
    """What was heard of the agent before it was started anew does not count; one need not tell its settings."""
    return seen is not None and _runs(seen) and seen.version == version and seen.settings in ("", settings)


def _removed(site: Site, actions: Sequence[Action], endpoint: TlsEndpoint, tell: OnProgress) -> Iterator[Result]:
    """A row for each host whose agent goes. Its certificate ends once the host has nothing to use it with; of a host
    that the inventory has no more it ends at once, since nobody can go there."""
    hosts = [action.name for action in actions if action.kind == AGENT and action.action == REMOVE]
    if not hosts:
        return
    tell(Step(f"removing the agent from {_counted(hosts)} of site {site.name}"))
    try:
        there = listed(Path(site.inventory), hosts)
        reached = [host for host in hosts if list(there.hosts.get(host, ())) == [host]]
        outcome = agents.remove_agents(site, reached, config=config_of(Path(site.inventory)), on_event=tell)
        outcome = Outcome({**outcome.hosts, **{host: HostOutcome("changed") for host in hosts if host not in reached}})
        for host, row in outcome.hosts.items():
            if row.ok:
                request_json(endpoint, "POST", "/v1/certificates/revoke", {"host": host})
            yield _row(AGENT, host, row, site.name)
    except BcsError as error:
        yield from (Result(AGENT, host, "failed", False, error.message, error.hint, site.name) for host in hosts)


def _row(kind: str, name: str, outcome: HostOutcome, site: str) -> Result:
    return Result(kind, name, outcome.state, outcome.ok, outcome.message, outcome.hint, site)


def _counted(hosts: Sequence[str] | Mapping[str, object]) -> str:
    return f"{len(hosts)} host{'' if len(hosts) == 1 else 's'}"


def _cache(home: Path) -> Path:
    """Where bundles and wheels are kept between runs."""
    cache = home / "cache"
    durable.make_directories(cache, mode=0o700)
    return cache
