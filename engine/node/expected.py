"""Since when the policies name a source whose agent never came: the first of the applied policies, going back, that
hold it without a break."""

from __future__ import annotations

from collections.abc import Iterable

from engine.journal import control
from engine.model.errors import BcsError
from engine.node.desired import applied_at
from engine.store.base import Store

LOOKED_AT_MAX = 100
"""Older policies are not looked at: 'for at least so long' is enough to know."""


def expected_since(store: Store, addresses: Iterable[str], number: int) -> dict[str, int]:
    """For each address of policies `number` the time since which policies name it, microseconds.

    Policies that can't be read end the search: what was found until then holds.
    """
    found: dict[str, int] = {}
    looking = set(addresses)
    for earlier in range(number, max(0, number - LOOKED_AT_MAX), -1):
        if not looking:
            break
        try:
            applied = control.read(store, control.POLICIES, earlier)
        except BcsError:
            break
        looking &= set(applied["sources"])
        at = applied_at(applied)
        found.update(dict.fromkeys(looking, at))
    return found
