"""What there is at a site with a node of its own: asked of the node, with the credentials of whoever applies.

Changes nothing. A site without credentials has not been deployed as far as we know; one whose node is silent is known
by that alone; one that shows another authority than its credentials name is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from engine.deploy import bundle
from engine.env import credentials
from engine.env.credentials import Credential
from engine.env.endpoint import Endpoint, request_json
from engine.model.errors import Refused, Unreachable
from engine.model.times import SECOND, parse_time
from engine.plan.observed import (
    ABSENT,
    EXPIRED,
    NEVER_SEEN,
    REVOKED,
    RUNNING,
    SILENT,
    STOPPED,
    AgentSeen,
    Observed,
    Process,
)

ASK_SECONDS = 20.0
SILENT_SECONDS = 15
"""Agents report each second; one of which nothing was heard for so long is to be started."""


def observe_site(site: str) -> Observed:
    """The site as its node tells it. Refused when the node is another journal's, Unauthenticated when the token holds
    no more."""
    wanted = Observed(site=site, version=bundle.version(), node_version=bundle.version(bundle.NODE))
    credential = credentials.read(site)
    if credential is None:
        why = "there is no node yet, as far as the credentials of this user go"
        return replace(wanted, node=Process(ABSENT, why=why))
    try:
        return observe_node(wanted, credential.endpoint())
    except Unreachable as error:
        refuse_strange(site, credential, error)
        return replace(wanted, node=Process(STOPPED, why=error.message), known=False)


def observe_node(wanted: Observed, endpoint: Endpoint) -> Observed:
    """`wanted` with what the node at `endpoint` says. Raises what it answers, Unreachable when it does not."""
    health = request_json(endpoint, "GET", "/v1/health", timeout_seconds=ASK_SECONDS)
    applied = request_json(endpoint, "GET", "/v1/policies/latest", timeout_seconds=ASK_SECONDS)
    status = request_json(endpoint, "GET", "/v1/status", timeout_seconds=ASK_SECONDS)
    now = parse_time(str(status["at"]), 0)
    sources: dict[str, Any] = applied.get("sources") or {}
    hosts = applied.get("agents") or sorted({address.split("/")[1] for address in sources})
    seen = {row["host"]: agent_seen(row, now) for row in status.get("hosts", ())}
    return replace(
        wanted,
        number=int(applied["number"]),
        documents=applied.get("documents") or {},
        sources=sources,
        hosts=tuple(hosts),
        node=Process(RUNNING, str(health.get("version", ""))),
        agents={host: agent for host, agent in seen.items() if agent is not None},
    )


def agent_seen(row: Mapping[str, Any], now: int) -> AgentSeen | None:
    """The agent of one row of the status's hosts; None where there never was one. `now` is the node's, microseconds."""
    certificate, heard_at = row.get("certificate"), row.get("heard_at")
    version, settings = str(row.get("version") or ""), str(row.get("settings") or "")
    if certificate is None and not heard_at:
        return None
    if certificate is not None and certificate.get("revoked_at"):
        return AgentSeen(REVOKED, version, str(certificate["revoked_at"]))
    if certificate is not None and parse_time(certificate["not_after"], 0) <= now:
        return AgentSeen(EXPIRED, version, str(certificate["not_after"]))
    if not heard_at:
        return AgentSeen(NEVER_SEEN)
    if now - parse_time(heard_at, 0) > SILENT_SECONDS * SECOND:
        return AgentSeen(SILENT, version, str(heard_at), settings)
    return AgentSeen(RUNNING, version, settings=settings)


def refuse_strange(site: str, credential: Credential, error: Unreachable) -> None:
    """Refused when a node answers that the site's authority has not signed; it is no healing to trust it."""
    if error.details.get("untrusted"):
        raise Refused(
            f"what answers at {', '.join(credential.urls)} is not the site {site} that these credentials are for",
            hint="another journal has another authority; if the site was made anew, forget the old one: `bcsctl logout`",
            details={"site": site},
        )
