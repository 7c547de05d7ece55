"""What there is at a site with a node of its own: asked of the node, with the credentials of whoever applies.

Changes nothing. A site without credentials has not been deployed as far as we know; one whose node is silent is known
by that alone; one that shows another authority than its credentials name is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from engine.deploy import bundle
from engine.env import credentials
from engine.env.clock import SYSTEM, Clock
from engine.env.credentials import Credential
from engine.env.endpoint import Endpoint, request_json
from engine.model.errors import Refused, Unreachable
from engine.model.times import SECOND, format_time, parse_time
from engine.plan.observed import (
    ABSENT,
    EXPIRED,
    NEVER_SEEN,
    OVERDUE,
    REVOKED,
    RUNNING,
    SILENT,
    STOPPED,
    AgentSeen,
    Observed,
    Process,
)

ASK_SECONDS = 20.0
HEARING_SECONDS = 3.0
POLL_SECONDS = 0.2
OVERDUE_SECONDS = 2
SILENT_SECONDS = 15
"""Agents report each second; one of which nothing was heard for so long is to be started. In between nobody knows."""


def observe_site(site: str) -> Observed:
    """The site as its node tells it. Refused when the node is another journal's, Unauthenticated when the token holds
    no more."""
    wanted = Observed(site=site, version=bundle.version(), node_version=bundle.version(bundle.NODE))
    credential = credentials.read(site)
    if credential is None:
        return replace(wanted, node=Process(ABSENT, why="there is no node yet that this user has credentials for"))
    try:
        return observe_node(wanted, credential.endpoint())
    except Unreachable as error:
        refuse_strange(site, credential, error)
        return replace(wanted, node=Process(STOPPED, why=error.message), known=False)


def observe_node(wanted: Observed, endpoint: Endpoint, clock: Clock = SYSTEM) -> Observed:
    """`wanted` with what the node at `endpoint` says. Raises what it answers, Unreachable when it does not."""
    health = request_json(endpoint, "GET", "/v1/health", timeout_seconds=ASK_SECONDS)
    applied = request_json(endpoint, "GET", "/v1/policies/latest", timeout_seconds=ASK_SECONDS)
    sources: dict[str, Any] = applied.get("sources") or {}
    hosts = tuple(sorted(applied.get("agents") or {address.split("/")[1] for address in sources}))
    return replace(
        wanted,
        number=int(applied["number"]),
        documents=applied.get("documents") or {},
        sources=sources,
        hosts=hosts,
        node=Process(RUNNING, str(health.get("version", ""))),
        agents=_settled(endpoint, hosts, applied.get("named_since") or {}, clock),
    )


def _settled(
    endpoint: Endpoint, hosts: Collection[str], named_since: Mapping[str, int], clock: Clock
) -> dict[str, AgentSeen]:
    """The agents, once the node has heard of all of `hosts` since it started, or some seconds later: what it has not
    heard yet is not drift. One that is overdue is waited for until it reports or is silent: a host that has just been
    restored needs its agent started, and a plan that is made too soon would find nothing to do."""
    started_at = clock.monotonic()
    while True:
        seen, waited = agents_of(endpoint, named_since), clock.monotonic() - started_at
        untold = waited < HEARING_SECONDS and any(not _told(seen.get(host)) for host in hosts)
        overdue = waited < SILENT_SECONDS and any(seen[host].state == OVERDUE for host in hosts if host in seen)
        if not untold and not overdue:
            return seen
        clock.sleep(POLL_SECONDS)


def _told(seen: AgentSeen | None) -> bool:
    return seen is not None and (bool(seen.version) or not seen.let_in)


def agents_of(endpoint: Endpoint, named_since: Mapping[str, int]) -> dict[str, AgentSeen]:
    """The agents that a node knows, by host. `named_since` as `GET /v1/policies/latest` has it."""
    certificates = request_json(endpoint, "GET", "/v1/certificates", timeout_seconds=ASK_SECONDS)["certificates"]
    status = request_json(endpoint, "GET", "/v1/status", timeout_seconds=ASK_SECONDS)
    return agents_seen(certificates, status.get("hosts", ()), parse_time(str(status["at"]), 0), named_since)


def agents_seen(
    certificates: Iterable[Mapping[str, Any]],
    rows: Iterable[Mapping[str, Any]],
    now: int,
    named_since: Mapping[str, int],
) -> dict[str, AgentSeen]:
    """Agents by host, out of the node's lists of certificates and of hosts, at its time `now` (microseconds)."""
    certified = {row["host"]: row for row in certificates}
    heard = {row["host"]: row for row in rows}
    found = {
        host: _agent(certified.get(host), heard.get(host, {}), now, named_since.get(host))
        for host in sorted({*certified, *heard})
    }
    return {host: agent for host, agent in found.items() if agent is not None}


def _agent(
    certificate: Mapping[str, Any] | None, row: Mapping[str, Any], now: int, named_since: int | None
) -> AgentSeen | None:
    """None where there never was an agent, or where one was removed before policies named its host again."""
    version, settings = str(row.get("version") or ""), str(row.get("settings") or "")
    heard_at = parse_time(row["heard_at"], 0) if row.get("heard_at") else None
    if certificate is not None and certificate["revoked"]:
        revoked_at = int(certificate["revoked_at"] or 0)
        by_hand = named_since is not None and revoked_at >= named_since
        return AgentSeen(REVOKED, version, format_time(revoked_at)) if by_hand else None
    if certificate is not None and (certificate["not_after"] or now) < now:
        return AgentSeen(EXPIRED, version, format_time(certificate["not_after"]))
    if heard_at is None:
        return AgentSeen(NEVER_SEEN) if certificate is not None else None
    if now - heard_at > SILENT_SECONDS * SECOND:
        return AgentSeen(SILENT, version, format_time(heard_at), settings)
    if now - heard_at > OVERDUE_SECONDS * SECOND:
        return AgentSeen(OVERDUE, version, settings=settings)
    return AgentSeen(RUNNING, version, settings=settings)


def refuse_strange(site: str, credential: Credential, error: Unreachable) -> None:
    """Refused when a node answers that the site's authority has not signed; it is no healing to trust it."""
    if error.details.get("untrusted"):
        raise Refused(
            f"what answers at {', '.join(credential.urls)} is not the site {site} that these credentials are for",
            hint="another journal has another authority; if it was made anew, forget the old one: `bcsctl logout`",
            details={"site": site},
        )
