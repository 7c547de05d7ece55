"""Drills: which is due when, and what the last ones make of a group. Pure.

Evidence counts for the very policy that it was made under: `digest` stands for all that the applied policies say of a
group, its sources and its drills. Once that has changed every drill of the group is void.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.model.errors import BcsError
from engine.model.policy.drills import Drill, read_drills
from engine.model.times import HOUR, MINUTE, format_about, parse_duration

ENDED, BEGUN = "drill", "drilling"
"""What the audit calls the end and the beginning of a drill."""

PASSED, FAILED, VOID, STALE, NEVER, NONE = "passed", "failed", "void", "stale", "never", "none"
UNPROVEN = (FAILED, VOID, STALE, NEVER)
"""States of a group that leave it without proof, the gravest first. `none`: no policy asks for a drill, none failed."""

RETRY = HOUR
"""A drill that failed is made again after this long, if its time does not come before."""
CUT_OFF = 5 * MINUTE
"""One that was cut off, as by a restart of the node, after this long."""
NOT_READY_AFTER = 15 * MINUTE
"""A group of which a source has no point yet is drilled, and fails, once policies have named it for so long."""
GRACE_MIN, GRACE_SHARE = 5 * MINUTE, 10


@dataclass(frozen=True, slots=True)
class GroupPolicy:
    """What the applied policies number `number` say of a group. `sources` by address, as an apply records them; `rpo`
    and `rto`, microseconds, are the strictest of them, None for nothing promised."""

    group: str
    digest: str
    drills: tuple[Drill, ...]
    sources: Mapping[str, Mapping[str, Any]]
    number: int = 0
    commit: str = ""
    rpo: int | None = None
    rto: int | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """The end of a drill, as the audit has it. `drill` is its place among the group's drills, None for one of nobody's
    policy; `began_at` and `at`, its end, in microseconds."""

    group: str
    digest: str
    drill: int | None
    began_at: int
    at: int
    passed: bool
    reason: str = ""
    id: str = ""
    rto_seconds: float | None = None
    rpo_seconds: float | None = None
    by: str = ""


@dataclass(slots=True)
class Known:
    """What is known of a group's drills: the last end and the last beginning (id, time) of each."""

    results: dict[int | None, Result] = field(default_factory=dict)
    begun: dict[int | None, tuple[str, int]] = field(default_factory=dict)

    def ended(self, result: Result) -> None:
        before = self.results.get(result.drill)
        if before is None or result.at >= before.at:
            self.results[result.drill] = result
        if self.begun.get(result.drill, ("", 0))[0] == result.id:
            self.begun.pop(result.drill, None)

    def began(self, drill: int | None, id: str, at: int) -> None:
        if at >= self.begun.get(drill, ("", 0))[1]:
            self.begun[drill] = (id, at)

    @property
    def last(self) -> Result | None:
        return max(self.results.values(), key=lambda result: result.at, default=None)


@dataclass(frozen=True, slots=True)
class Standing:
    """What the drills make of a group: one of the states above, why in a few words, and since when (microseconds)."""

    state: str
    reason: str = ""
    since: int | None = None

    @property
    def proven(self) -> bool:
        return self.state not in UNPROVEN


NO_DRILLS = Standing(NONE)


@dataclass(frozen=True, slots=True)
class Due:
    """A drill that is to be made now: since when it is due (microseconds), and why."""

    group: str
    drill: int
    since: int
    why: str


def groups_in(applied: Mapping[str, Any]) -> dict[str, GroupPolicy]:
    """Every group of applied policies that has sources. What of its drills makes no sense is left out: the node may be
    older than the policies."""
    sources: dict[str, dict[str, Mapping[str, Any]]] = {}
    for address, source in (applied.get("sources") or {}).items():
        sources.setdefault(address.split("/")[0], {})[address] = source
    documents = applied.get("documents") or {}
    return {group: _group(group, listed, documents, applied) for group, listed in sources.items()}


def group_in(applied: Mapping[str, Any], group: str) -> GroupPolicy | None:
    """One group of applied policies; None where they name no source of it."""
    mine = {
        address: source for address, source in (applied.get("sources") or {}).items() if address.split("/")[0] == group
    }
    return _group(group, mine, applied.get("documents") or {}, applied) if mine else None


def _group(
    group: str,
    sources: Mapping[str, Mapping[str, Any]],
    documents: Mapping[str, Mapping[str, Any]],
    applied: Mapping[str, Any],
) -> GroupPolicy:
    spec = (documents.get(f"ProtectionGroup/{group}") or {}).get("spec") or {}
    inherited = [each for key, each in documents.items() if key.partition("/")[0] == "Defaults"]
    declared = spec.get("drills", ((inherited[0].get("spec") or {}).get("drills", ())) if inherited else ())
    try:
        drills = read_drills(declared)
    except (BcsError, KeyError, TypeError, AttributeError):
        drills = ()
    said = {"spec": spec, "drills": declared, "sources": sources}
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:32]
    number, commit = applied.get("number") or 0, applied.get("commit") or ""
    return GroupPolicy(
        group, digest, drills, sources, number, commit, _strictest(sources, "rpo"), _strictest(sources, "rto")
    )


def _strictest(sources: Mapping[str, Mapping[str, Any]], name: str) -> int | None:
    return min((parse_duration(source[name]) for source in sources.values() if source.get(name)), default=None)


def stale_after(every: int) -> int:
    """How old the last drill may be: as old as the policy says, and a tenth more, five minutes at least."""
    return every + max(every // GRACE_SHARE, GRACE_MIN)


def standing(policy: GroupPolicy, known: Known, now: int) -> Standing:
    """What the last drills make of a group: the gravest of what each drill of its policy is, and of those that were
    made beside it. A failure beside the policy counts until a later drill of the group passes."""
    found = [_of(policy, known.results.get(at), drill, now) for at, drill in enumerate(policy.drills)]
    beside = known.results.get(None)
    if beside is not None and not beside.passed and beside.digest == policy.digest:
        later = (each for each in known.results.values() if each.passed and each.digest == policy.digest)
        if not any(each.at > beside.at for each in later):
            found.append(_failed(beside))
    if not found:
        return Standing(NONE)
    return min(found, key=lambda each: UNPROVEN.index(each.state) if each.state in UNPROVEN else len(UNPROVEN))


def _of(policy: GroupPolicy, last: Result | None, drill: Drill, now: int) -> Standing:
    if last is None:
        return Standing(NEVER, "no drill was made yet")
    if last.digest != policy.digest:
        had = "passed" if last.passed else "failed"
        return Standing(VOID, f"the policy has changed since its last drill, which {had}", last.at)
    if not last.passed:
        return _failed(last)
    if now - last.at > stale_after(drill.every):
        told = f"its last drill is {format_about(now - last.at)} old, the policy asks for one each"
        return Standing(STALE, f"{told} {format_about(drill.every)}", last.at + stale_after(drill.every))
    return Standing(PASSED, "", last.at)


def _failed(last: Result) -> Standing:
    why = f": {last.reason}" if last.reason else ""
    return Standing(FAILED, f"its last drill failed{why}", last.at)


def overdue(policy: GroupPolicy, found: Standing, held_since: int, now: int) -> bool:
    """Whether a drill that is due at once, as the first under a policy, has not been made for longer than the policy's
    own time: something keeps the node from it. `held_since`: since when the policy is known to hold."""
    if found.state not in (NEVER, VOID):
        return False
    return now - held_since > min(stale_after(drill.every) for drill in policy.drills)


def next_at(policy: GroupPolicy, known: Known, drill: int) -> int:
    """When a drill of a group's policy is due, microseconds; 0 for at once."""
    every, last, begun = policy.drills[drill].every, known.results.get(drill), known.begun.get(drill)
    # One whose end is not known: it runs, or was cut off.
    earliest = begun[1] + min(every, CUT_OFF) if begun is not None else 0
    if last is None or last.digest != policy.digest:
        return earliest
    return max(earliest, last.began_at + every if last.passed else last.at + min(every, RETRY))


def due(
    policies: Iterable[GroupPolicy],
    known: Mapping[str, Known],
    named_since: Callable[[str], int],
    ready: Callable[[str], bool],
    now: int,
) -> list[Due]:
    """The drills that are to be made now, the one that is due for longest first.

    `named_since` tells since when policies name a group (microseconds), `ready` whether each of its sources has a
    point.
    """
    found = []
    for policy in policies:
        of_group = known.get(policy.group, Known())
        if not policy.drills or not (ready(policy.group) or now - named_since(policy.group) > NOT_READY_AFTER):
            continue
        for at, drill in enumerate(policy.drills):
            since = next_at(policy, of_group, at)
            if since <= now:
                found.append(Due(policy.group, at, since, _of(policy, of_group.results.get(at), drill, now).state))
    return sorted(found, key=lambda each: (each.since, each.group, each.drill))


def any_moment(first: int, last: int, share: float, holds: Sequence[Callable[[int], bool]] = ()) -> int | None:
    """The time a `share` (0 to 1) of the way from `first` to `last`, or the next after it by hundredths of the way
    that none of `holds`, as gaps do, lays claim to; None where there is none."""
    span = max(0, last - first)
    for step in range(101):
        at = first + round(span * ((share + step / 101) % 1.0))
        if not any(hold(at) for hold in holds):
            return at
    return None


def result_of(details: Mapping[str, Any], at: int, by: str = "") -> Result | None:
    """From the details of an act ENDED; None for what is none of ours."""
    try:
        drill, group = details["drill"], details["group"]
        policy = details["policy"]
        if not isinstance(group, str) or not (drill is None or isinstance(drill, int)):
            return None
        return Result(
            group,
            str(policy["digest"]),
            drill,
            at - round(float(details["seconds"]) * 1_000_000),
            at,
            details["passed"] is True,
            str(details.get("reason") or "")[:500],
            str(details.get("id") or ""),
            _number(details.get("rto_seconds")),
            _number(details.get("rpo_seconds")),
            by,
        )
    except (KeyError, TypeError, ValueError):
        return None


def begun_of(details: Mapping[str, Any]) -> tuple[str, int | None, str] | None:
    """(group, drill, id) of an act BEGUN; None for what is none of ours."""
    group, drill, id = details.get("group"), details.get("drill"), details.get("id")
    if not isinstance(group, str) or not isinstance(id, str) or not (drill is None or isinstance(drill, int)):
        return None
    return group, drill, id


def take(known: dict[str, Known], what: str, details: Mapping[str, Any], at: int, by: str = "") -> None:
    """Take one act of the audit into what is known by group."""
    if what == ENDED and (result := result_of(details, at, by)) is not None:
        known.setdefault(result.group, Known()).ended(result)
    elif what == BEGUN and (begun := begun_of(details)) is not None:
        known.setdefault(begun[0], Known()).began(begun[1], begun[2], at)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
