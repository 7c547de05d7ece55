"""Whether a restore to this machine lands in what is protected here: then each of its files becomes new history.

Where something came from it may come back to; anywhere else in a source it would be there twice.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from engine.drivers.files import within
from engine.journal.open import Journal
from engine.model.errors import Refused
from engine.model.policy.site import EMBEDDED_HOST
from engine.plan.matching import fixed_part, is_pattern
from engine.plan.restore import base_of
from engine.query.applied import paths_of, read_policies
from engine.recovery.restoring import Prepared
from engine.tree.match import Exclude, compile_excludes
from engine.tree.paths import shown


@dataclass(frozen=True, slots=True)
class Place:
    """A path that a source of this machine protects, without links; `excluded` says what below it is left out."""

    address: str
    path: bytes
    excluded: Exclude

    def takes(self, target: bytes) -> bool:
        """Whether what is made at `target`, without links, is captured."""
        return within(target, self.path) and not self.excluded(target, True)


def places(journal: Journal) -> list[Place]:
    """What is protected on this machine by the policies applied last."""
    found = []
    for applied in read_policies(journal, 1):
        for address, source in sorted(applied.get("sources", {}).items()):
            if address.split("/")[1] != EMBEDDED_HOST:
                continue
            for path in map(os.fsencode, source.get("paths", ())):
                real = os.path.realpath(path)
                found.append(Place(address, real, compile_excludes(source.get("exclude", ()), real)))
    return found


def refuse_into_protected(journal: Journal, ready: Iterable[Prepared], path: bytes | None, target: bytes) -> None:
    """Refused for the first that is `ready`, of `path` of its source, of which something lands where a source would
    take it for new."""
    known = places(journal)
    for prepared in ready:
        landing = _landing(journal, prepared, None if path is None else prepared.base)
        if prepared.stream.address.host == EMBEDDED_HOST and _same(prepared, landing):
            continue
        for place in known:
            if _lands_in(prepared, landing, place):
                raise refused(target, place)


def refuse_protected(journal: Journal, moves: Sequence[tuple[bytes, Sequence[bytes]]], *, whole: bool = False) -> None:
    """Refused for the first target of `moves`, (target, where that came from), that a source would take for new; with
    `whole` also for one that holds what is protected."""
    known = places(journal)
    for target, origins in moves:
        real = os.path.realpath(target)
        if real in map(os.path.realpath, origins):
            continue
        for place in known:
            if place.takes(real) or (whole and within(place.path, real)):
                raise refused(target, place)


def refused(target: bytes, place: Place) -> Refused:
    """The refusal of a target."""
    return Refused(
        f"{shown(target)} belongs to {place.address}, which protects {shown(place.path)}: "
        "what is restored there would become new history",
        hint="restore beside it, or --in-place to where it came from; --into-protected does it all the same",
        details={"protected_by": place.address},
    )


def _landing(journal: Journal, prepared: Prepared, path: bytes | None) -> bytes:
    """Where what is brought back comes to lie: for a pattern, the directory that its fixed part becomes."""
    plan = prepared.plan
    if path is not None and is_pattern(path):
        return plan.target
    if path is None and not plan.directories and len(plan.files) == 1:
        return plan.files[0].target  # a source that is a file goes into the target, under its name
    return base_of(path, paths_of(journal, prepared.stream.id, prepared.point.at), plan.target)[1]


def _same(prepared: Prepared, landing: bytes) -> bool:
    """Whether all comes back to where it came from."""
    base = fixed_part(prepared.base) if is_pattern(prepared.base) else prepared.base
    return os.path.realpath(base) == os.path.realpath(landing)


def _lands_in(prepared: Prepared, landing: bytes, place: Place) -> bool:
    real = os.path.realpath(landing)
    if within(place.path, real):
        return any(place.takes(real + path.removeprefix(landing)) for path in _made(prepared))
    return place.takes(real)


def _made(prepared: Prepared) -> Iterator[bytes]:
    """All that is made, at or below the landing."""
    plan = prepared.plan
    return (made.target for part in (plan.files, plan.directories, plan.others) for made in part)
