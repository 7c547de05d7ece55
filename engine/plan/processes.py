"""Which nodes and agents a plan creates, starts, upgrades, gives other settings or removes, and why. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from engine.model.policy.resolved import PolicySet
from engine.model.policy.site import EMBEDDED_HOST, EMBEDDED_SITE, Site
from engine.plan.actions import AGENT, CREATE, NODE, REMOVE, START, UPDATE, UPGRADE, Action, Change, changed_fields
from engine.plan.observed import ABSENT, EXPIRED, NEVER_SEEN, REVOKED, SILENT, STOPPED, Observed, Process

NODE_KEYS = ("nodes", "storage", "encryption")
"""What of a Site document its node's settings are made of."""
_HISTORY_STAYS = "what it protected keeps its history"


def of_this_machine(desired: PolicySet, observed: Observed) -> Iterator[Action]:
    """Node and agent of the embedded site, needed as soon as anything here is protected by them."""
    if not desired.embedded:
        return
    for kind, name, process in (
        (NODE, EMBEDDED_SITE, observed.node),
        (AGENT, EMBEDDED_HOST, observed.agent),
    ):
        yield from _process(kind, name, process, observed.version)


def of_site(
    site: Site, spec: Mapping[str, Any], hosts: tuple[str, ...], observed: Observed, *, partial: bool
) -> Iterator[Action]:
    """The node of a site, whose document says `spec`, and its agents: those of `hosts`, and those that are on others.

    A part of a repository, `partial`, can't tell whom nothing names any more.
    """
    yield from _node(site, spec, observed)
    if not observed.known:
        return
    applied = observed.documents.get(f"Site/{site.name}")
    moved = _urls(applied["spec"]) != _urls(spec) if applied else False
    for host in hosts:
        yield from _agent(site.name, host, observed, moved)
    for host, seen in sorted(observed.agents.items()):
        if host not in hosts and seen.let_in and not partial:
            yield Action(REMOVE, AGENT, host, f"no policy names this host; {_HISTORY_STAYS}", site=site.name)


def shut_out(hosts: tuple[str, ...], observed: Observed) -> list[str]:
    """Hosts whose certificates somebody has revoked while policies name them: an apply does not let them in again."""
    return [host for host in hosts if (seen := observed.agents.get(host)) is not None and seen.state == REVOKED]


def _node(site: Site, spec: Mapping[str, Any], observed: Observed) -> Iterator[Action]:
    name = site.nodes[0].host
    applied = observed.documents.get(f"Site/{site.name}")
    settings = changed_fields(_of_node(applied["spec"]), _of_node(spec)) if applied else {}
    process = observed.node
    if process.state == ABSENT:
        version = {"version": Change(None, observed.node_version)}
        yield Action(CREATE, NODE, name, process.why or "there is no node yet", version, site=site.name)
    elif process.state == STOPPED:
        yield Action(START, NODE, name, f"does not answer{': ' if process.why else ''}{process.why}", site=site.name)
    elif process.version != observed.node_version:
        version = {"version": Change(process.version or None, observed.node_version)}
        yield Action(UPGRADE, NODE, name, f"has version {process.version or 'unknown'}", version, site=site.name)
    elif settings:
        yield Action(UPDATE, NODE, name, "its settings changed", settings, site=site.name)


def _of_node(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {key: spec.get(key) for key in NODE_KEYS}


def _urls(spec: Mapping[str, Any]) -> list[str]:
    return [node["url"] for node in spec["nodes"]]


def _agent(site: str, host: str, observed: Observed, moved: bool) -> Iterator[Action]:
    seen = observed.agents.get(host)
    version = {"version": Change((seen.version if seen else "") or None, observed.version)}
    if seen is None:
        again = host in observed.readmitted
        reason = "is let in again: its certificate was revoked" if again else "there is no agent yet"
        yield Action(CREATE, AGENT, host, reason, version, site=site)
    elif seen.state in _STOPPED:
        reason = _STOPPED[seen.state] + (f" since {seen.since}" if seen.since else "")
        yield Action(START, AGENT, host, reason, site=site)
    elif seen.let_in and seen.version != observed.version:
        yield Action(UPGRADE, AGENT, host, f"has version {seen.version or 'unknown'}", version, site=site)
    elif seen.let_in and seen.settings and seen.settings != observed.settings:
        yield Action(UPDATE, AGENT, host, "runs with other settings", site=site)
    elif seen.let_in and moved:
        yield Action(UPDATE, AGENT, host, "its node has another address", site=site)


_STOPPED = {NEVER_SEEN: "was let in and has not reported", SILENT: "is silent", EXPIRED: "its certificate has ended"}


def _process(kind: str, name: str, process: Process, wanted: str) -> Iterator[Action]:
    version = {"version": Change(process.version or None, wanted)}
    if process.state == ABSENT:
        yield Action(CREATE, kind, name, f"there is no {kind.lower()} yet", version)
    elif process.version and process.version != wanted:
        yield Action(UPGRADE, kind, name, f"has version {process.version}", version)
    elif process.state == STOPPED:
        yield Action(START, kind, name, "is not running")
