"""The constructed parts of a running node, wired in one place (`engine.node.serve`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from engine.env.clock import Clock
from engine.journal.commit import Committer
from engine.journal.copies import Copies
from engine.journal.open import Journal
from engine.node.api.bodies import Bodies
from engine.node.audit import AuditLog
from engine.node.callers.certificates import Certificates
from engine.node.callers.refusals import Refusals
from engine.node.callers.users import Users
from engine.node.commands import Commands
from engine.node.desired import Desired
from engine.node.log import Sparingly
from engine.node.marks import KeptMarks
from engine.node.monitoring.hosts import Certified
from engine.node.monitoring.metrics import Metrics
from engine.node.monitoring.status import Report
from engine.node.rehearsals import Rehearsal, Rehearsals
from engine.node.restores import Restores
from engine.node.settings import NodeSettings
from engine.node.streams import StreamFacts
from engine.node.sync import Sync
from engine.query.committed import CommittedExtents

if TYPE_CHECKING:
    from engine.node.alerts.watch import Watch
    from engine.node.drills import Drills

AGENTS_MAX = 10_000
READERS = 2
"""As-of reads at once: each may take a gigabyte."""


@dataclass(slots=True)
class Agent:
    """What a host's agent said of itself when it last came."""

    version: str = ""
    mechanism: str = ""
    pid: int = 0
    heard_at: int = 0
    generation: int = -1
    settings: str = ""
    """The digest of those that it was deployed with; empty when it does not say."""
    clock_skew: int | None = None
    """Microseconds that the host's wall clock is ahead of site time, as its agent measures it."""
    usage: dict[str, Any] | None = None
    """What it uses and may use (`engine.node.reports.read_usage`)."""
    scratches: list[dict[str, Any]] = field(default_factory=list)
    """What its host has in scratch (`engine.node.reports.read_scratches`)."""


@dataclass(slots=True)
class Parts:
    """Everything that requests need. `ingest` is the pool in which batches are opened and hashed, `readers` the
    one in which the past is read; `reads` are what it is busy with.

    `agents` by host, in the order in which they were last heard; `reports` by stream. `certified` answers with the
    newest certificate of each host. `journal_size`: (objects, bytes) by area.
    """

    name: str
    boot: int
    clock: Clock
    journal: Journal
    committer: Committer
    audit: AuditLog
    facts: StreamFacts
    users: Users
    settings: NodeSettings
    refusals: Refusals
    kept_marks: KeptMarks
    certificates: Certificates | None = None
    """None for a node that has no authority, as an embedded site's."""
    desired: Desired = field(default_factory=Desired)
    bodies: Bodies = field(default_factory=Bodies)
    agents: dict[str, Agent] = field(default_factory=dict)
    reports: dict[str, Report] = field(default_factory=dict)
    sync: Sync | None = None
    certified: Callable[[], Mapping[str, Certified]] = dict
    journal_size: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    metrics: Metrics = field(init=False)
    sparingly: Sparingly = field(init=False)
    watch: Watch | None = None
    drills: Drills | None = None
    ingest: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(2, "ingest"))
    readers: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(READERS, "reader"))
    reads: set[Future[Any]] = field(default_factory=set)
    restores: Restores = field(init=False)
    rehearsals: Rehearsals = field(init=False)
    commands: Commands | None = None
    committed: CommittedExtents = field(init=False)

    def __post_init__(self) -> None:
        self.metrics = Metrics(self.clock, self.desired)
        self.sparingly = Sparingly(self.clock)
        self.restores = Restores(self.journal)
        self.rehearsals = Rehearsals(self.journal, self.clock, self._supplies_no_more)
        self.committed = CommittedExtents(self.journal)
        self.committer.copies = Copies(self.journal, self.committed.find)

    def heard(self, host: str) -> Agent:
        """The agent of a host, which has just come. Of too many the one that was silent longest is forgotten."""
        agent = self.agents.pop(host, None) or Agent()
        agent.heard_at = self.clock.now()
        self.agents[host] = agent
        while len(self.agents) > AGENTS_MAX:
            del self.agents[next(iter(self.agents))]
        return agent

    def heard_act(self, what: str, who: str, details: Mapping[str, Any], at: int) -> None:
        """An act is in the audit stream: those hear of it whom it concerns."""
        for each in (self.watch, self.drills):
            if each is not None:
                each.heard_act(what, who, details, at)

    def _supplies_no_more(self, drill: Rehearsal) -> None:
        for part in drill.parts:
            self.restores.supplies.forget(part.id)

    def close(self) -> None:
        """Commit all that was taken. Nothing is taken afterwards."""
        if self.watch is not None:
            self.watch.stop()
        if self.drills is not None:
            self.drills.stop()
        self.readers.shutdown(wait=False, cancel_futures=True)
        self.restores.shut()
        self.ingest.shutdown()
        self.refusals.close()
        try:
            self.audit.flush(at_once=True)
        finally:
            self.committer.close()
            self.committed.close()
