"""Since when the policies name a source whose agent never came, or a host: the first of the applied policies, going
back, that hold it without a break."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from engine.journal import control
from engine.model.errors import BcsError
from engine.node.desired import applied_at
from engine.store.base import Store

LOOKED_AT_MAX = 100
"""Older policies are not looked at: 'for at least so long' is enough to know."""


def addresses_in(applied: Mapping[str, Any]) -> set[str]:
    return set(applied["sources"])


def hosts_in(applied: Mapping[str, Any]) -> set[str]:
    """The hosts that have an agent by these policies."""
    return {address.split("/")[1] for address in applied["sources"]} | set(applied.get("agents") or ())


def expected_since(
    store: Store,
    names: Iterable[str],
    number: int,
    named_in: Callable[[Mapping[str, Any]], set[str]] = addresses_in,
) -> dict[str, int]:
    """For each address (or host) of policies `number` the time since which policies name it, microseconds.

    Policies that can't be read end the search: what was found until then holds.
    """
    found: dict[str, int] = {}
    looking = set(names)
    for earlier in range(number, max(0, number - LOOKED_AT_MAX), -1):
        if not looking:
            break
        try:
            applied = control.read(store, control.POLICIES, earlier)
        except BcsError:
            break
        looking &= named_in(applied)
        at = applied_at(applied)
        found.update(dict.fromkeys(looking, at))
    return found
