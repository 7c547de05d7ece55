"""A restore of one or several sources to one directory of this machine: nothing begins before all of it can.

One that was interrupted goes on: the points that answered are noted before the first byte is written, what is whole on
the disk is not written again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.journal.open import Journal
from engine.model.counts import counted
from engine.model.errors import NothingThere, Refused
from engine.model.ids import parse_address
from engine.model.points import Point
from engine.plan.owners import Owners, with_owners
from engine.plan.scope import landings
from engine.plan.standing import Conflict, Seen, Standing
from engine.query.session import Session
from engine.query.streams import StreamInfo
from engine.recovery.restore import Helping, Onto, Progress
from engine.recovery.restoring import Outcome, Prepared, carry_out, prepare_for
from engine.recovery.unfinished import Begun
from engine.tree.paths import shown
from engine.tree.standing import refuse, survey
from engine.tree.target import first_entry, refuse_cut_off


@dataclass(frozen=True, slots=True)
class Wanted:
    """One source as of a point, by the address that the user knows."""

    address: str
    stream: StreamInfo
    point: Point


@dataclass(frozen=True, slots=True)
class Part:
    """A source that is ready to be brought back, and what stands where it goes."""

    address: str
    prepared: Prepared
    onto: Onto


@dataclass(frozen=True, slots=True)
class Terms:
    """How a target is treated. `begun` is an earlier run of the very same restore that did not come to its end."""

    id: str
    overwrite: bool = False
    aside: bool = False
    begun: Begun | None = None


def prepare_all(
    journal: Journal,
    session: Session,
    wanted: Sequence[Wanted],
    path: bytes | None,
    target: bytes,
    *,
    spread: bool,
    owners: Owners | None = None,
    partial: bool = False,
) -> tuple[list[tuple[str, Prepared]], dict[str, NothingThere]]:
    """What is to be made of each source, and which have nothing there. NothingThere when none has, or, unless `partial`
    or a path was named, when one has not.

    With `spread` each lands in HOST/SOURCE below the target; else there is one, which lands in the target itself.
    """
    names = [parse_address(one.address) for one in wanted]
    places = landings(names, target) if spread else dict.fromkeys(names, target)
    ready: list[tuple[str, Prepared]] = []
    missing: dict[str, NothingThere] = {}
    for one, name in zip(wanted, names, strict=True):
        try:
            found = prepare_for(journal, session, one.stream, one.point, path, places[name])
        except NothingThere as error:
            missing[one.address] = error
            continue
        ready.append((one.address, replace(found, plan=with_owners(found.plan, owners)) if owners else found))
    if missing and not (ready and (partial or path is not None)):
        raise nothing_of(missing, len(wanted))
    return ready, missing


def nothing_of(missing: Mapping[str, NothingThere], count: int) -> NothingThere:
    """The refusal of several sources that have nothing there."""
    [(first, error), *more] = missing.items()
    if not more and count == 1:
        return error
    others = f", and {len(more)} more" if more else ""
    has = "have" if more else "has"
    hint = "--partial goes on without them" if len(missing) < count else error.hint
    return NothingThere(
        f"{len(missing)} of {counted(count, 'source')} {has} nothing to restore then: {first}: {error.message}{others}",
        hint=hint,
        details={"sources": {address: {"message": each.message, **each.details} for address, each in missing.items()}},
    )


def look(ready: Sequence[tuple[str, Prepared]], target: Path, terms: Terms) -> list[Part]:
    """What stands where all of it goes. Refused, with the numbers, for what is in the way and was not told to go."""
    holds, begun = first_entry(target), terms.begun
    if holds:
        refuse_cut_off(target)
    again = begun is not None
    if not holds:
        onto = Onto(Standing(), terms.id, terms.overwrite, terms.aside, again, begun is not None and begun.made)
        return [Part(address, prepared, onto) for address, prepared in ready]
    parts = [
        Part(
            address, prepared, Onto(survey(prepared.plan), terms.id, terms.overwrite, terms.aside, again, _ours(begun))
        )
        for address, prepared in ready
    ]
    for part in parts:
        _refuse_other_ways(os.fsencode(target), part.prepared.plan.target)
    told = terms.overwrite or again
    refuse(target, together([part.onto.standing for part in parts]), overwrite=told, aside=terms.aside)
    return parts


def _refuse_other_ways(target: bytes, place: bytes) -> None:
    """A source's place below the target is reached by directories alone: a link would lead elsewhere."""
    while place != target:
        if os.path.lexists(place) and (os.path.islink(place) or not os.path.isdir(place)):
            raise Refused(
                f"{shown(place)} is no directory", hint="move it away, or name another directory; nothing was touched"
            )
        place = os.path.dirname(place)


def unhindered(ready: Sequence[tuple[str, Prepared]]) -> list[Part]:
    """Sources for a place where nothing is in the way."""
    return [Part(address, prepared, Onto(Standing(), "")) for address, prepared in ready]


def _ours(begun: Begun | None) -> bool:
    """Whether an earlier run made what it landed in: the target, or what lies below one that was empty."""
    return begun is not None and (begun.made or (begun.spread and not begun.full))


def together(found: Sequence[Standing]) -> Standing:
    """What stands in the way of several plans."""
    taken: dict[bytes, Seen] = {}
    conflicts: list[Conflict] = []
    for one in found:
        taken |= one.in_the_way
        conflicts += one.conflicts
    return Standing(
        frozenset(path for one in found for path in one.directories),
        frozenset(path for one in found for path in one.alike),
        frozenset(path for one in found for path in one.settled),
        taken,
        tuple(conflicts),
    )


def carry_out_all(
    journal: Journal,
    session: Session,
    parts: Sequence[Part],
    *,
    verify: bool,
    progress: Progress,
    helping: Helping,
    owners: bool | None,
    each: Callable[[Part, Outcome], Any],
    reading: Progress | None = None,
) -> list[Outcome]:
    """Bring back one after the other; `each` is told what came of it, `progress` of what is written, `reading` of what
    is read back. What fails costs its own source alone."""
    outcomes = []
    for part in parts:
        outcome = carry_out(
            *(journal, session, part.prepared),
            verify=verify,
            progress=progress,
            helping=helping,
            onto=part.onto,
            owners=owners,
            reading=reading,
        )
        each(part, outcome)
        outcomes.append(outcome)
    return outcomes
