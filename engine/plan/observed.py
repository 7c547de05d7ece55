"""What there is at a site, as plans compare it with what should be. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.model.policy.site import EMBEDDED_SITE

ABSENT, STOPPED, RUNNING = "absent", "stopped", "running"
NEVER_SEEN, OVERDUE, SILENT, REVOKED, EXPIRED = "never-seen", "overdue", "silent", "revoked", "expired"


@dataclass(frozen=True, slots=True)
class Process:
    """A node or an agent: `state` is absent, stopped or running; `why` says more of one that is not running."""

    state: str = ABSENT
    version: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class AgentSeen:
    """An agent as its node knows it. `state` is running; overdue, having missed some reports: running late, or just
    gone; silent, having reported until `since`; never-seen, having been let in and not reported; revoked or expired,
    since its certificate is. `settings` is the digest of those it runs with, empty where it does not say."""

    state: str
    version: str = ""
    since: str = ""
    settings: str = ""

    @property
    def let_in(self) -> bool:
        """Whether its certificate holds."""
        return self.state not in (REVOKED, EXPIRED)


@dataclass(frozen=True, slots=True)
class Observed:
    """One site. `number` is the last applied control number, 0 for none; `documents` and `sources` are what that
    apply recorded (the form of `PolicySet.as_json`), `hosts` the hosts that it gave an agent.

    `version` and `node_version` are those that should run, `settings` the digest of those that agents should have.
    Of the embedded site `agent` is the one agent, of others `agents` are by host, without those of `readmitted`: hosts
    that are let in again though their certificates were revoked. `known` is False where nobody answers: then all but
    the node is unknown, and nothing else can be planned.
    """

    number: int = 0
    documents: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    sources: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    node: Process = Process()
    agent: Process = Process()
    version: str = ""
    site: str = EMBEDDED_SITE
    hosts: tuple[str, ...] = ()
    agents: Mapping[str, AgentSeen] = field(default_factory=dict)
    node_version: str = ""
    settings: str = ""
    known: bool = True
    readmitted: frozenset[str] = frozenset()
