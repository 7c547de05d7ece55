"""Restores that a node sends: each is granted by one control object and ended by a second, so that a node that starts
again, and the site's others, know who may receive what.

`control/restores/<id>/00000001.json` is the grant, `00000002.json` its end. Both are authenticated under the site's
key: who can write to the store can grant nothing. What is granted is one stream as of one point, to one receiver. What
is asked of one that fills on demand meanwhile is under `control/recoveries/<id>/`, the highest number counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from engine.env import randomness
from engine.journal import sealed
from engine.journal.open import Journal
from engine.model.errors import Damaged
from engine.store.base import AlreadyThere, Missing

PREFIX = "control/restores/"
ID_BYTES = 8
GRANTED, ENDED = 1, 2

DONE, FAILED, CANCELLED = "done", "failed", "cancelled"


@dataclass(frozen=True, slots=True)
class Grant:
    """Who may receive what, and where it goes. Times in microseconds, paths as os.fsdecode gives them; `path` is what
    was asked for, `base` what that names.

    With `host` that host's agent alone may; without one the caller `receiver` ([kind, name, token]) may, who opened it.
    With `before`, the position of a mark, what differs since is changed where it stands; `exact` removes what did not
    exist then, and `undo` is the moment that leads back. `on_demand` says how a tree is filled on demand, empty for any
    other restore: {mechanism, rate_bytes, own}; `own` that its source's history goes on with it.
    `way` is an errand other than to make a tree (engine.wire.errands), `how` what else was said of it.
    """

    id: str
    address: str
    stream: str
    position: str
    point_at: int
    point_class: str
    path: str | None
    base: str
    host: str
    dir: str
    verify: bool
    by: str
    origin: str
    opened_at: int
    receiver: list[str] = field(default_factory=list)
    before: str = ""
    exact: bool = False
    undo: str = ""
    on_demand: dict[str, Any] = field(default_factory=dict)
    way: str = ""
    how: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class End:
    """How a restore ended: DONE with its `outcome`, FAILED with its `error`, CANCELLED with what was done by then."""

    state: str
    ended_at: int
    by: str
    outcome: dict[str, Any] = field(default_factory=dict)
    error: dict[str, Any] = field(default_factory=dict)


def new_id() -> str:
    return randomness.token_hex(ID_BYTES)


def is_id(text: str) -> bool:
    """Whether a text could be the id of a restore."""
    return len(text) == 2 * ID_BYTES and set(text) <= set("0123456789abcdef")


def open_grant(journal: Journal, grant: Grant) -> None:
    """Record a grant, durably. It holds from then on."""
    sealed.put_number(journal, prefix(grant.id), GRANTED, asdict(grant))


def close(journal: Journal, id: str, end: End) -> bool:
    """Record an end, durably; False when it had one already, which stays."""
    try:
        sealed.put_number(journal, prefix(id), ENDED, asdict(end))
    except AlreadyThere:
        return False
    return True


def read(journal: Journal, id: str) -> tuple[Grant, End | None]:
    """One restore. Raises Missing for an unknown one, Damaged for what this site did not write."""
    try:
        grant = Grant(**sealed.get(journal, prefix(id), GRANTED))
    except TypeError:
        raise Damaged(f"object {prefix(id)}00000001.json is no grant", details={"object": prefix(id)}) from None
    try:
        return grant, End(**sealed.get(journal, prefix(id), ENDED))
    except Missing:
        return grant, None


def open_ones(journal: Journal) -> list[Grant]:
    """The grants without an end, the oldest first. What this site did not write grants nothing and is left out."""
    numbers: dict[str, set[str]] = {}
    for item in journal.store.list(PREFIX):
        id, _, name = item.key.removeprefix(PREFIX).partition("/")
        if is_id(id):
            numbers.setdefault(id, set()).add(name)
    found = []
    for id, names in numbers.items():
        if len(names) == 1:
            try:
                found.append(read(journal, id)[0])
            except (Damaged, Missing):
                continue
    return sorted(found, key=lambda grant: grant.opened_at)


def want(journal: Journal, id: str, wanted: Mapping[str, Any]) -> None:
    """Record what is asked of a tree that fills on demand: {paused, rate_bytes, finish, cancel}."""
    sealed.take_next(journal, _wanted(id), wanted)


def wanted(journal: Journal, id: str) -> dict[str, Any]:
    """What was asked last; empty when nothing was. What this site did not write was asked by nobody."""
    for number in reversed(sealed.numbers(journal, _wanted(id))):
        with suppress(Damaged, Missing):
            return sealed.get(journal, _wanted(id), number)
    return {}


def prefix(id: str) -> str:
    return f"{PREFIX}{id}/"


def _wanted(id: str) -> str:
    return f"control/recoveries/{id}/"
