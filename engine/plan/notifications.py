"""Who hears of what, from the Notification documents of the applied policies. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.model.policy.access import Notification, Target

TARGETS = ("webhook", "mail")


def notifications_in(documents: Mapping[str, Any]) -> tuple[Notification, ...]:
    """The Notification documents among applied ones, which are by KIND/NAME. One that isn't whole tells nobody."""
    found = (_rule(key, document) for key, document in sorted(documents.items()) if key.startswith("Notification/"))
    return tuple(rule for rule in found if rule is not None)


def _rule(key: str, document: Any) -> Notification | None:
    spec = document.get("spec") if isinstance(document, dict) else None
    if not isinstance(spec, dict):
        return None
    on, to = spec.get("on"), spec.get("to")
    if not isinstance(on, list) or not isinstance(to, list) or not all(isinstance(each, str) for each in on):
        return None
    named = [item for each in to if isinstance(each, dict) for item in each.items()]
    targets = tuple(Target(kind, where) for kind, where in named if kind in TARGETS and isinstance(where, str))
    return Notification(key.partition("/")[2], tuple(on), targets)
