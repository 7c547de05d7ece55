"""The applied policies: their history, and which of them held for a stream at a moment."""

from __future__ import annotations

import os
from typing import Any

from engine.journal import control
from engine.journal.open import Journal
from engine.model.times import parse_time


def applied(journal: Journal, limit: int) -> list[dict[str, Any]]:
    """The last `limit` applied policies, oldest first, as `bcsctl history --json` shows them."""
    found = read_policies(journal, None if journal.seen else limit)[-limit:]
    return [
        {
            "number": value["number"],
            "applied_at": value["applied_at"],
            "by": value.get("by"),
            "commit": value.get("commit"),
            "dirty": bool(value.get("dirty")),
            "documents": sorted(value.get("documents", {})),
            "sources": sorted(value.get("sources", {})),
        }
        for value in found
    ]


def read_policies(journal: Journal, limit: int | None = None) -> list[dict[str, Any]]:
    """The last `limit` applied policies, oldest first, as the journal's reader may know them."""
    numbers = control.numbers(journal.store, control.POLICIES)
    values = [control.read(journal.store, control.POLICIES, number) for number in numbers[-limit if limit else 0 :]]
    return list(journal.seen.policies(values)) if journal.seen else values


def source_of(journal: Journal, stream: str, at: int) -> dict[str, Any] | None:
    """The source that a stream was by the policies that held at a time; by the first, before that.

    None when no applied policy has the stream.
    """
    earliest: dict[str, Any] | None = None
    for number in reversed(control.numbers(journal.store, control.POLICIES)):
        value = control.read(journal.store, control.POLICIES, number)
        mine = [source for source in value.get("sources", {}).values() if source["stream"] == stream]
        if mine:
            earliest = mine[0]
            if parse_time(value["applied_at"], 0) <= at:
                return earliest
    return earliest


def paths_of(journal: Journal, stream: str, at: int) -> tuple[bytes, ...]:
    """The paths that a source protected at a time; `/` when no policy tells."""
    source = source_of(journal, stream, at)
    return tuple(os.fsencode(path) for path in source["paths"]) if source else (b"/",)


def labels_of(journal: Journal) -> dict[str, dict[str, str]]:
    """{stream: labels of its group} by the newest applied policies."""
    sources = [source for value in read_policies(journal, 1) for source in value.get("sources", {}).values()]
    return {source["stream"]: dict(source.get("labels") or {}) for source in sources}
