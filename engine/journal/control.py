"""Numbered control objects: applied policies, and whatever else has one current value.

`control/<name>/<n>.json` is written once. The value with the highest number holds; the next
number is taken by creating it, so of two who start from the same base one is refused.
"""

from __future__ import annotations

from typing import Any

from engine.journal import documents
from engine.model.errors import Damaged, Refused
from engine.store.base import AlreadyThere, Store

POLICIES = "policies"


def numbers(store: Store, name: str) -> list[int]:
    """The numbers there are, ascending."""
    prefix = f"control/{name}/"
    return [int(item.key.removeprefix(prefix).removesuffix(".json")) for item in store.list(prefix)]


def read(store: Store, name: str, number: int) -> dict[str, Any]:
    """One value. Raises Missing, and Damaged when it is not what was written."""
    key = f"control/{name}/{number:08d}.json"
    value = documents.get(store, key)
    if value.get("number") != number:
        raise Damaged(f"object {key} is not the value with number {number}", details={"object": key})
    return value


def latest(store: Store, name: str) -> dict[str, Any] | None:
    """The value that holds now, None before the first."""
    there = numbers(store, name)
    return read(store, name, there[-1]) if there else None


def follow(store: Store, name: str, base: int, value: dict[str, Any]) -> int:
    """Write the value that comes after number `base`; 0 is before the first. Answers its number.

    Refused when `base` is no longer the latest, whoever came first.
    """
    there = numbers(store, name)
    current = there[-1] if there else 0
    number = base + 1
    if base == current:
        try:
            documents.put(store, f"control/{name}/{number:08d}.json", {**value, "number": number, "base": base})
            return number
        except AlreadyThere:
            current = number
    raise Refused(
        f"another change of the {name} came first: number {current}, not {base}, is the latest",
        hint="look at the plan again and apply once more",
        details={"base": base, "latest": current},
    )
