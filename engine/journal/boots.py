"""Boots: every run of a committer has a number of its own, and names of commits begin with it.

Numbers are taken by creating, so no prefix is ever used twice and all boots of all nodes have one order.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.env.clock import Clock
from engine.format import names
from engine.journal import documents
from engine.store.base import Store


@dataclass(frozen=True, slots=True)
class Boot:
    """`last` is the content hash of the last commit that the node saw when it began, "" if there was none: with it a
    missing end of an earlier boot shows. `started_at` is the node's time, microseconds."""

    number: int
    node: str
    last: str
    started_at: int


def take_boot(store: Store, node: str, last: str, clock: Clock) -> int:
    """Begin a run of `node`; its number."""
    fields = {"node": names.check_node(node), "last": last, "started_at": clock.now()}
    return documents.take_next(store, names.BOOTS, fields)


def boots(store: Store) -> list[Boot]:
    """All boots, by number. Raises Damaged."""
    found = []
    for number in documents.numbers(store, names.BOOTS):
        fields = documents.get(store, names.boot_key(number))
        found.append(Boot(number, str(fields["node"]), str(fields["last"]), int(fields["started_at"])))
    return found
