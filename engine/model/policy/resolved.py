"""Policies with every reference followed: what is to be protected, where and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.model.ids import Address
from engine.model.policy.access import AccessPolicy, Notification
from engine.model.policy.documents import Document
from engine.model.policy.group import Consistency, Ignored, ProtectionGroup
from engine.model.policy.retention import RetentionPolicy, Tiers, tiers_as_json
from engine.model.policy.site import EMBEDDED_SITE, Site
from engine.model.times import format_duration


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """One protected thing on one host. `rpo` and `rto` in microseconds.

    `paths` are absolute; `settings` hold what is particular to a kind, as a cluster's name.
    `stream_id` is that of the address the source was first given: `former_addresses`, oldest
    first, are those it had before its group was renamed.
    """

    address: Address
    stream_id: str
    kind: str
    site: str
    paths: tuple[str, ...]
    rpo: int
    rto: int | None
    consistency: Consistency
    retention: Tiers
    exclude: tuple[str, ...] = ()
    ignore: tuple[Ignored, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    former_addresses: tuple[Address, ...] = ()

    @property
    def group(self) -> str:
        return self.address.group

    @property
    def embedded(self) -> bool:
        return self.site == EMBEDDED_SITE

    def as_json(self) -> dict[str, Any]:
        """The form that is recorded with an apply and compared by the next one."""
        hooks = self.consistency.hooks
        return {
            "stream": self.stream_id,
            "address": str(self.address),
            "kind": self.kind,
            "site": self.site,
            "paths": list(self.paths),
            "exclude": list(self.exclude),
            "ignore": [{"path": ignored.path, "reason": ignored.reason} for ignored in self.ignore],
            "labels": dict(self.labels),
            "settings": dict(self.settings),
            "rpo": format_duration(self.rpo),
            "rto": format_duration(self.rto) if self.rto is not None else None,
            "crashPointEvery": format_duration(self.consistency.crash_point_every),
            "freeze": "allowed" if self.consistency.freeze_allowed else "never",
            "hooks": {"before": hooks.before, "after": hooks.after, "timeout": format_duration(hooks.timeout)}
            if hooks
            else None,
            "retention": tiers_as_json(self.retention),
        }


@dataclass(frozen=True, slots=True)
class PolicySet:
    """A whole set of policies, valid and resolved; documents by kind and name, sources by address.

    `unresolved` names the groups whose host patterns nobody has resolved: they have no sources yet. `agents` are, by
    site, the hosts that get one: those that are protected and those to restore to. The embedded site is not among them.
    """

    documents: tuple[Document, ...] = ()
    sites: tuple[Site, ...] = ()
    groups: tuple[ProtectionGroup, ...] = ()
    retentions: tuple[RetentionPolicy, ...] = ()
    access: tuple[AccessPolicy, ...] = ()
    notifications: tuple[Notification, ...] = ()
    sources: tuple[SourceSpec, ...] = ()
    unresolved: tuple[str, ...] = ()
    agents: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def embedded(self) -> bool:
        """Whether anything here is protected by the node and the agent of this machine."""
        return any(source.embedded for source in self.sources)

    def as_json(self) -> dict[str, Any]:
        """What an apply records: documents by KIND/NAME, sources by address, and the hosts that have an agent."""
        return {
            "documents": {document.key: dict(document.raw) for document in self.documents},
            "sources": {str(source.address): source.as_json() for source in self.sources},
            "agents": sorted({host for hosts in self.agents.values() for host in hosts}),
        }
