"""One step of a plan with its reason, and what differs between two documents. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.model.policy.site import EMBEDDED_SITE

CREATE, UPDATE, REMOVE, START, UPGRADE = "create", "update", "remove", "start", "upgrade"
NODE, AGENT = "Node", "Agent"


@dataclass(frozen=True, slots=True)
class Change:
    """One field; None on the side where it isn't set."""

    old: Any
    new: Any


@dataclass(frozen=True, slots=True)
class Action:
    """`action` is create, update, remove, start or upgrade; `fields` are dotted names with what changes.

    `points_removed` is how many points a source's shorter retention takes; None where none is shortened, or where
    nobody has counted. `site` is where it is done.
    """

    action: str
    kind: str
    name: str
    reason: str
    fields: Mapping[str, Change] = field(default_factory=dict)
    points_removed: int | None = None
    site: str = EMBEDDED_SITE

    def as_json(self) -> dict[str, Any]:
        shown = {
            "action": self.action,
            "kind": self.kind,
            "name": self.name,
            "site": self.site,
            "fields": {name: {"old": change.old, "new": change.new} for name, change in self.fields.items()},
            "reason": self.reason,
        }
        return shown if self.points_removed is None else {**shown, "points_removed": self.points_removed}


def changed_fields(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Change]:
    """The leaves that differ between two JSON objects, by dotted name; lists of one length item by item."""
    return dict(_changed("", old, new))


def _changed(path: str, old: Any, new: Any) -> Iterator[tuple[str, Change]]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}):
            yield from _changed(f"{path}.{key}" if path else key, old.get(key), new.get(key))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new) and _of_objects(old + new):
        for at, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from _changed(f"{path}[{at}]", one, other)
    elif old != new:
        yield path, Change(old, new)


def _of_objects(items: list[Any]) -> bool:
    return all(isinstance(item, Mapping) for item in items)
