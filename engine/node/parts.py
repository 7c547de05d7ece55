"""The constructed parts of a running node, wired in one place (`engine.node.serve`)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from engine.env.clock import Clock
from engine.journal.commit import Committer
from engine.journal.open import Journal
from engine.node.audit import AuditLog
from engine.node.desired import Desired
from engine.node.status import Report
from engine.node.streams import StreamFacts


@dataclass(slots=True)
class Agent:
    """What a host's agent said of itself when it last came."""

    version: str = ""
    mechanism: str = ""
    pid: int = 0
    heard_at: int = 0
    generation: int = 0


@dataclass(slots=True)
class Parts:
    """Everything that requests need. `ingest` is the pool in which batches are opened and hashed."""

    name: str
    boot: int
    clock: Clock
    journal: Journal
    committer: Committer
    audit: AuditLog
    facts: StreamFacts
    desired: Desired = field(default_factory=Desired)
    agents: dict[str, Agent] = field(default_factory=dict)
    reports: dict[str, Report] = field(default_factory=dict)
    ingest: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(2, "ingest"))
