"""A protection group: what belongs together, and what it must survive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.model.policy.drills import Check, Drill
from engine.model.policy.retention import Tiers
from engine.model.policy.sources import Source
from engine.model.times import HOUR, MINUTE, SECOND

RPO_DEFAULT = 5 * SECOND
CRASH_POINT_DEFAULT = HOUR
HOOK_TIMEOUT_DEFAULT = MINUTE


@dataclass(frozen=True, slots=True)
class Objectives:
    """How much may be lost and how long it may take, in microseconds; `rto` None: nothing promised."""

    rpo: int = RPO_DEFAULT
    rto: int | None = None


@dataclass(frozen=True, slots=True)
class Hooks:
    """Commands on the host around a freeze; `timeout` in microseconds bounds each of them."""

    before: str = ""
    after: str = ""
    timeout: int = HOOK_TIMEOUT_DEFAULT


@dataclass(frozen=True, slots=True)
class Consistency:
    """How often a crash-consistent point is made, and whether a short freeze may be used for it."""

    crash_point_every: int = CRASH_POINT_DEFAULT
    freeze_allowed: bool = False
    hooks: Hooks | None = None


@dataclass(frozen=True, slots=True)
class Ignored:
    """A path that need not survive, and why: neither captured nor reported as uncovered."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Replication:
    """A copy at another site; `tiers` None: coarsened as at home. `lag_max` in microseconds."""

    site: str
    tiers: Tiers | None
    lag_max: int


@dataclass(frozen=True, slots=True)
class RecoveryTarget:
    """Where a group goes when its site is lost: host by host, kinds or names of sources in order."""

    site: str
    hosts: Mapping[str, str] = field(default_factory=dict)
    order: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True, slots=True)
class ProtectionGroup:
    """One group with everything inherited filled in. `hosts` are those the pattern stands for."""

    name: str
    site: str
    hosts: tuple[str, ...]
    sources: tuple[Source, ...]
    tiers: Tiers
    labels: Mapping[str, str] = field(default_factory=dict)
    formerly: tuple[str, ...] = ()
    ignore: tuple[Ignored, ...] = ()
    objectives: Objectives = Objectives()
    consistency: Consistency = Consistency()
    replicate: tuple[Replication, ...] = ()
    recovery: RecoveryTarget | None = None
    drills: tuple[Drill, ...] = ()


@dataclass(frozen=True, slots=True)
class Defaults:
    """What the groups of a repository inherit; None where it says nothing."""

    name: str
    site: str | None = None
    retention: str | Tiers | None = None
    objectives: Objectives | None = None
    drills: tuple[Drill, ...] | None = None
