"""What a source is given, what it shows, and what it is asked."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from engine.agent.capture.cache import OldBytes
from engine.agent.host.clock import SiteClock
from engine.agent.kept.spool import Spool
from engine.agent.points.wanted import Wanted
from engine.agent.ship.client import Node
from engine.agent.ship.memory import Memory
from engine.agent.traffic import Traffic
from engine.drivers.files import Scope
from engine.env.clock import Clock
from engine.model.policy.agents import SPOOL_LIMIT_DEFAULT


@dataclass(slots=True)
class Marked:
    """A bookmark that was asked for; `lsn` is its mark's once it is made, `tries` counts the passes until then."""

    id: str
    label: str
    lsn: int = 0
    tries: int = 0
    wants_crash: bool = True
    """A crash point is to be tried for; `must_crash`: and no other will do."""
    must_crash: bool = False
    reason: str = ""
    """Why it is none."""
    point_class: str = ""
    until: int = 0
    """Site time after which nobody waits for it any more; 0 for never."""


@dataclass(slots=True)
class Settings:
    """What a source's thread is given. `connect` makes a client for one thread."""

    stream: str
    host: str
    writer: str
    directory: Path
    scope: Scope
    connect: Callable[[], Node]
    clock: Clock
    site_clock: SiteClock
    spool_limit_bytes: int = SPOOL_LIMIT_DEFAULT
    scan_interval_seconds: float = 60.0
    watch: str | None = None
    ranges: str | None = None
    old_bytes: OldBytes = field(default_factory=OldBytes)
    """Shared by all sources of an agent."""
    traffic: Traffic = field(default_factory=Traffic)
    spools: dict[str, Spool] = field(default_factory=dict)
    """By stream, of all sources of an agent: `spool_limit_bytes` is for all of them together."""
    lane: Callable[[Callable[[], bool]], Node] | None = None
    """Makes a client for batches, which belong to a baseline as long as the function says so; by default `connect`."""
    memory: Memory = field(default_factory=Memory)
    """What batches that wait may take of it, shared by all sources of an agent."""
    big_file_bytes_a_second: int | None = None
    objective_seconds: float | None = None
    """How far the node may be behind, by the policy."""
    crash_points: Wanted = field(default_factory=Wanted)

    @property
    def spool_room_bytes(self) -> int:
        """How large this source's spool may be now. Half of the limit is set aside for all in equal parts, so that a
        source whose batches the node does not take leaves something to the others."""
        others = [each.size_bytes for stream, each in list(self.spools.items()) if stream != self.stream]
        set_aside = self.spool_limit_bytes // 2 // (len(others) + 1)
        return self.spool_limit_bytes - sum(max(size, set_aside) for size in others)


@dataclass(slots=True)
class View:
    """What others may read at any time. Times are site time, 0 for none.

    `not_opened` and `not_taken` say why the node refuses the stream, or a batch of it, `not_mounted` which file systems
    of the source are missed: however well capturing goes, as long as that is so the source fails. So does one with
    `nothing` at all of its paths; `nothing_at` are those at which there is none.
    """

    state: str = "opening"
    mechanism: str = ""
    ranges: str = ""
    costs: str = ""
    through_at: int = 0
    last_change_at: int = 0
    gap_from: int = 0
    gap_reason: str = ""
    acknowledged_at: int = 0
    pending: int = 0
    pending_big_files: int = 0
    pending_big_bytes: int = 0
    unreadable: int = 0
    unreadable_paths: list[dict[str, str]] = field(default_factory=list)
    files: int = 0
    bytes: int = 0
    baseline_done: bool = False
    message: str = ""
    not_opened: str = ""
    not_taken: str = ""
    not_mounted: str = ""
    nothing_at: list[str] = field(default_factory=list)
    nothing: bool = False
    marks_done: list[str] = field(default_factory=list)
    marks_told: dict[str, dict[str, str]] = field(default_factory=dict)
    """Of marks that are done, by id: `class` of the point, "" for a mark that could not be set, and `reason`."""
    crash_at: int = 0
    crash_how: str = ""
    crash_held_seconds: float = 0.0
    crash_message: str = ""
    """Why the last crash point that was wanted could not be had."""

    def miss(self, scope: Scope) -> None:
        """Note at which of its paths there is nothing now."""
        self.nothing_at = scope.missing()
        self.nothing = len(self.nothing_at) == len(scope.roots)

    def shown(self) -> tuple[str, str]:
        """State and message."""
        refused = self.not_opened or self.not_taken
        if refused or self.not_mounted:
            return "failed", refused or self.not_mounted
        if self.nothing_at and self.state == "protected" and not self.message:
            return "failed" if self.nothing else self.state, f"there is nothing at {', '.join(self.nothing_at)}"
        return self.state, self.message


@dataclass(slots=True)
class Begun:
    """What outlives a session. `reason` says why changes may have been missed before the next one."""

    settings: Settings
    view: View = field(default_factory=View)
    stopping: threading.Event = field(default_factory=threading.Event)
    asked: list[Marked] = field(default_factory=list)
    weaker_than: str | None = None
    spool_lost: bool = False
    reason: str = ""

    def tell_mark(self, mark: Marked, reason: str = "") -> None:
        """A mark is settled: set, or with a `reason` of its own why it was not."""
        self.asked.remove(mark)
        self.view.marks_told[mark.id] = {"class": mark.point_class, "reason": reason or mark.reason}
        self.view.marks_done.append(mark.id)
