"""What a drill has found, and the form in which the audit, people and scripts get it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.model.times import SECOND, format_about, format_time
from engine.plan.drills import GroupPolicy

SOURCES_KEPT = 500
"""The audit keeps so many sources and checks of a drill; all of them are counted."""
MESSAGE_CHARS, OUTPUT_CHARS, COMMAND_CHARS = 500, 4096, 80

RESTORE, CHECKSUMS, ATTRIBUTES, APPLICATION, COMMAND = "restore", "checksums", "attributes", "application", "command"
ROOM, RTO, RPO = "room", "rto", "rpo"
HOST = "host"
"""Whether the host of a drill could make it, where not."""
FIRST_READS, FILL, CANCELLING = "first-reads", "fill", "cancel"
"""Of trees that are used while they are cold: whether they can be read, were filled, were taken away."""
_OF_CONTENT = (CHECKSUMS, ATTRIBUTES)


@dataclass(frozen=True, slots=True)
class Row:
    """One check: whether it `passed`, None where there was nothing to ask; of one source, or of all with no `address`.

    `differs`: what is there is not what was protected. `output` is the end of what a command wrote.
    """

    name: str
    passed: bool | None
    message: str = ""
    seconds: float = 0.0
    address: str = ""
    command: str = ""
    output: str = ""
    differs: bool = False

    def as_json(self) -> dict[str, Any]:
        told: dict[str, Any] = {"name": self.name, "passed": self.passed, "message": self.message[:MESSAGE_CHARS]}
        told |= {"address": self.address or None, "seconds": round(self.seconds, 3)}
        if self.name == COMMAND:
            told |= {"command": self.command[:MESSAGE_CHARS], "output": self.output[-OUTPUT_CHARS:]}
        return told


@dataclass(frozen=True, slots=True)
class Restored:
    """One source that came back, as of which point; `rpo_seconds`: how much of the end was lost, None for not known."""

    address: str
    stream: str
    point: str
    at: int
    point_class: str
    files: int
    names: int
    bytes: int
    seconds: float
    rpo_seconds: float | None

    def as_json(self) -> dict[str, Any]:
        return {
            "address": self.address,
            "stream": self.stream,
            "point": self.point,
            "at": format_time(self.at),
            "class": self.point_class,
            "files": self.files,
            "names": self.names,
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
            "rpo_seconds": self.rpo_seconds,
        }


@dataclass(slots=True)
class Evidence:
    """One drill. Times in microseconds; `asked` the moment in words, `moment` the time that this was, None for a point
    or mark; `where` the host and the directory. `rto_seconds` from the beginning until all sources were back; of a
    drill by on-demand start, until the first check passed over trees of which `on_demand` says {mechanisms,
    usable_seconds, afterwards}."""

    id: str
    policy: GroupPolicy
    drill: int | None
    asked: str
    moment: int | None
    began_at: int
    where: dict[str, str]
    sources: list[Restored] = field(default_factory=list)
    checks: list[Row] = field(default_factory=list)
    seconds: float = 0.0
    rto_seconds: float | None = None
    on_demand: dict[str, Any] | None = None

    @property
    def passed(self) -> bool:
        return bool(self.checks) and all(row.passed is not False for row in self.checks)

    @property
    def differs(self) -> bool:
        """Whether what came back is not what was protected."""
        return any(row.differs for row in self.checks)

    @property
    def rpo_seconds(self) -> float | None:
        return max((each.rpo_seconds for each in self.sources if each.rpo_seconds is not None), default=None)

    @property
    def reason(self) -> str:
        """Why it failed, in a few words; empty if it passed."""
        failed = [row for row in self.checks if row.passed is False]
        if not failed:
            return "" if self.checks else "nothing was restored"
        first = failed[0]
        more = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
        what = f"{first.name} '{first.command[:COMMAND_CHARS]}'" if first.command else first.name
        return f"{first.address + ': ' if first.address else ''}{what}: {first.message}{more}"[:MESSAGE_CHARS]

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        policy = self.policy
        return {
            "id": self.id,
            "group": policy.group,
            "drill": self.drill,
            "policy": {"number": policy.number, "commit": policy.commit or None, "digest": policy.digest},
            "asked": self.asked,
            "moment": format_time(self.moment) if self.moment is not None else None,
            "began_at": format_time(self.began_at),
            "passed": self.passed,
            "reason": self.reason,
            "rto_seconds": self.rto_seconds,
            "rto_target_seconds": policy.rto / SECOND if policy.rto is not None else None,
            "rpo_seconds": self.rpo_seconds,
            "rpo_target_seconds": policy.rpo / SECOND if policy.rpo is not None else None,
            "files": sum(each.files for each in self.sources),
            "bytes": sum(each.bytes for each in self.sources),
            "seconds": round(self.seconds, 3),
            "where": self.where,
            "on_demand": self.on_demand,
            "sources": [each.as_json() for each in self.sources],
            "checks": [row.as_json() for row in self.checks],
        }


def for_audit(told: dict[str, Any]) -> dict[str, Any]:
    """`Evidence.as_json` within what one record of the audit may hold: failed checks are kept before others."""
    checks = sorted(told["checks"], key=lambda row: row["passed"] is not False)[:SOURCES_KEPT]
    counts = {"sources_count": len(told["sources"]), "checks_count": len(told["checks"])}
    return {**told, **counts, "sources": told["sources"][:SOURCES_KEPT], "checks": checks}


def objectives(evidence: Evidence, hearsay: int) -> Sequence[Row]:
    """Rows for the objectives that there are and what was measured. `hearsay`, microseconds, is how old the last word
    of a source may be without anything being lost."""
    rows, policy = [], evidence.policy
    if evidence.rto_seconds is not None and policy.rto is not None:
        rows.append(_objective(RTO, evidence.rto_seconds, policy.rto, 0))
    if evidence.rpo_seconds is not None and policy.rpo is not None:
        rows.append(_objective(RPO, evidence.rpo_seconds, policy.rpo, hearsay))
    return rows


def _objective(name: str, measured_seconds: float, target: int, more: int) -> Row:
    measured = round(measured_seconds * SECOND)
    about = format_about(measured)
    if about == format_about(target) and measured > target:
        about = f"{measured_seconds:g} s"  # missed by less than the eye is told
    text = f"{about}, the objective is {format_about(target)}"
    if target < measured <= target + more:
        text += f", passed within the {format_about(more)} that hearing from an agent may take"
    return Row(name, measured <= target + more, text)
