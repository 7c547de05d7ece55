"""Which part of a repository's policies is whose: a site records what concerns it. And what can't be done for a site
yet. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from engine.model.errors import Refused
from engine.model.policy.documents import Document
from engine.model.policy.group import ProtectionGroup
from engine.model.policy.resolved import PolicySet
from engine.model.policy.site import EMBEDDED_SITE, Site

_OF_ONE_SITE = ("Site", "ProtectionGroup")
"""Documents of other kinds are recorded everywhere."""


def sites_of(desired: PolicySet) -> list[str]:
    """The sites that the policies concern, the embedded one first."""
    embedded = not desired.sites or any(group.site == EMBEDDED_SITE for group in desired.groups)
    declared = {site.name for site in desired.sites}
    named = {group.site for group in desired.groups if group.site != EMBEDDED_SITE}
    return [EMBEDDED_SITE] * embedded + sorted(declared | named)


def part_of(desired: PolicySet, site: str) -> PolicySet:
    """What a site records and carries out: its own document, its groups, those of sites that they name, and what
    belongs to no site. Nothing for the embedded site where only others have groups."""
    groups = tuple(group for group in desired.groups if group.site == site)
    if site == EMBEDDED_SITE and desired.sites and not groups:
        return PolicySet()
    names = {site, *(name for group in groups for name in _named(group))}
    kept = {f"Site/{name}" for name in names} | {f"ProtectionGroup/{group.name}" for group in groups}
    return replace(
        desired,
        documents=tuple(each for each in desired.documents if _shared(each) or each.key in kept),
        sites=tuple(each for each in desired.sites if each.name in names),
        groups=groups,
        sources=tuple(source for source in desired.sources if source.site == site),
        agents={name: hosts for name, hosts in desired.agents.items() if name == site},
    )


def cannot_carry_out(site: Site) -> str:
    """Why nothing can be done for a site yet; empty when it can."""
    if not site.storage.is_local:
        return f"its journal is to be in {site.storage.url}, and remote stores can't be used yet"
    if not site.inventory:
        return "it has no inventory by which its hosts could be reached"
    return ""


def refuse_to_move(site: Site, documents: Mapping[str, Mapping[str, Any]]) -> None:
    """Refused when a journal would be left behind: another node or directory would begin with an empty one."""
    applied = documents.get(f"Site/{site.name}")
    if applied is None:
        return
    spec = applied["spec"]
    old, new = (spec["nodes"][0]["host"], spec["storage"]["url"]), (site.nodes[0].host, site.storage.url)
    if old != new:
        raise Refused(
            f"site {site.name} has its journal at {old[0]} in {old[1]}, not at {new[0]} in {new[1]}",
            hint="an apply moves no journal: give the site another name, or move the files and apply the old document",
        )


def _named(group: ProtectionGroup) -> set[str]:
    return {copy.site for copy in group.replicate} | ({group.recovery.site} if group.recovery else set())


def _shared(document: Document) -> bool:
    return document.kind not in _OF_ONE_SITE
