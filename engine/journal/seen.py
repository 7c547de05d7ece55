"""What of a journal somebody may know of who sees some of its groups alone: which streams, policies and records.

A stream belongs to the group that the newest policies to name it say; without any, to the one it was registered
under. What belongs to no group, such as commits and most of the audit, is the site's and not shown.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from engine.journal import control, epochs
from engine.plan.access import Sight
from engine.store.base import Store

AUDIT_GROUP = "_audit"
_SHOWN_KIND = "ProtectionGroup"
_OF_AN_APPLY = ("number", "base", "applied_at", "by", "commit", "dirty", "message")


class Seen:
    """Safe for several threads. Which group a stream belongs to is read once."""

    def __init__(self, store: Store, sight: Sight) -> None:
        self.sight = sight
        self._store = store
        self._groups: dict[str, str] | None = None
        self._lock = threading.Lock()

    def stream(self, stream: str) -> bool:
        """Whether a stream may be known of. One that nobody has heard of may not."""
        group = self._known().get(stream)
        return group is not None and self.sight.sees(group)

    def streams(self) -> frozenset[str]:
        """The ids of all streams that may be known of."""
        return frozenset(stream for stream, group in self._known().items() if self.sight.sees(group))

    def policies(self, values: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
        """Of applied policies, oldest first, those that changed what is seen; and of each what is seen."""
        before: tuple[Any, Any] = ({}, {})
        for value in values:
            shown = self.policy(value)
            now = (shown["sources"], shown["documents"])
            if now != before:
                before = now
                yield shown

    def policy(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """One applied policy with nothing in it but the sources and groups that are seen."""
        sources = {
            address: source for address, source in value.get("sources", {}).items() if self.stream(source["stream"])
        }
        documents = {key: each for key, each in value.get("documents", {}).items() if self._shows(key)}
        return {**{name: value.get(name) for name in _OF_AN_APPLY}, "sources": sources, "documents": documents}

    def record(self, payload: str) -> bool:
        """Whether a record of the audit is about what is seen: it names sources or groups, and none but those."""
        try:
            details = json.loads(payload)["details"]
            named = [details[name] for name in ("address", "group", "stream") if details.get(name) is not None]
        except (ValueError, KeyError, TypeError, AttributeError):
            return False
        return bool(named) and all(
            isinstance(each, str) and (self.stream(each) if each is details.get("stream") else self._sees_address(each))
            for each in named
        )

    def _sees_address(self, text: str) -> bool:
        return self.sight.sees(text.partition("/")[0])

    def _shows(self, key: str) -> bool:
        kind, _, name = key.partition("/")
        return kind == _SHOWN_KIND and self.sight.sees(name)

    def _known(self) -> dict[str, str]:
        with self._lock:
            if self._groups is None:
                self._groups = groups(self._store)
            return self._groups


def groups(store: Store) -> dict[str, str]:
    """The group that each stream belongs to, by stream."""
    found: dict[str, str] = {}
    for number in reversed(control.numbers(store, control.POLICIES)):
        for address, source in control.read(store, control.POLICIES, number).get("sources", {}).items():
            found.setdefault(source["stream"], address.partition("/")[0])
    for each in epochs.streams(store):
        found.setdefault(each.id, each.address.group)
    return found
