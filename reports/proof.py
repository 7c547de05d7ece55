"""What drills made of each group from moment to moment: the same judgement as the node's, over all of a period."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.journal import control
from engine.model.errors import BcsError
from engine.plan import drills
from engine.plan.drills import GroupPolicy, Known, Result, Standing


@dataclass(frozen=True, slots=True)
class Held:
    """What applied policies said of the groups, from `from_at` on (microseconds)."""

    from_at: int
    groups: Mapping[str, GroupPolicy]


@dataclass(frozen=True, slots=True)
class Span:
    """What the drills made of a group from `from_at` to `to_at`. `every`: how often a drill was asked for, None for
    not at all."""

    group: str
    from_at: int
    to_at: int
    standing: Standing
    every: int | None


def held_policies(journal: Any, applied_at: Mapping[int, int], group: str | None) -> list[Held]:
    """The applied policies by number whose times are known, of the groups that may be known of, or of one. Those that
    can't be read are left out: the report says so elsewhere."""
    found = []
    for number, at in sorted(applied_at.items()):
        try:
            applied = control.read(journal.store, control.POLICIES, number)
            seen = journal.seen.policy(applied) if journal.seen else applied
            names = {address.split("/")[0] for address in seen["sources"]}
            groups = drills.groups_in({**applied, "number": number})
        except (BcsError, KeyError, TypeError, ValueError, AttributeError):
            continue
        wanted = {name: each for name, each in groups.items() if name in names and group in (None, name)}
        found.append(Held(at, wanted))
    return found


def results_of(records: Iterable[tuple[int, str]]) -> list[Result]:
    """The drills among records of the audit (at, payload), by time."""
    found = []
    for at, payload in records:
        try:
            told = json.loads(payload)
            result = drills.result_of(told["details"], at, str(told.get("who") or ""))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        if result is not None:
            found.append(result)
    return sorted(found, key=lambda result: result.at)


def spans(policies: Sequence[Held], results: Sequence[Result], from_at: int, to_at: int) -> list[Span]:
    """What the drills made of each group that a policy named in [from_at, to_at)."""
    found: list[Span] = []
    for at, held in enumerate(policies):
        until = policies[at + 1].from_at if at + 1 < len(policies) else to_at
        begin, end = max(held.from_at, from_at), min(until, to_at)
        if begin < end:
            for name in sorted(held.groups):
                mine = [result for result in results if result.group == name]
                found += _spans(held.groups[name], mine, begin, end)
    return found


def _spans(policy: GroupPolicy, results: Sequence[Result], begin: int, end: int) -> Iterator[Span]:
    """A result counts from its own moment on; between two moments at which something changes nothing does."""
    every = min((drill.every for drill in policy.drills), default=None)
    ends = {result.at for result in results}
    turns = {at + drills.stale_after(drill.every) + 1 for at in ends for drill in policy.drills}
    cuts = sorted({begin, *(at for at in ends | turns if begin < at < end)})
    known, taken = Known(), 0
    for at, until in zip(cuts, [*cuts[1:], end], strict=True):
        while taken < len(results) and results[taken].at <= at:
            known.ended(results[taken])
            taken += 1
        yield Span(policy.group, at, until, drills.standing(policy, known, at), every)
