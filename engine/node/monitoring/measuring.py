"""How large a journal is, by its areas. A listing each minute: cheap beside what a node does."""

from __future__ import annotations

from engine.journal.open import Journal


def journal_size(journal: Journal) -> dict[str, tuple[int, int]]:
    """{area: (objects, bytes)}; an area is the first part of the objects' keys."""
    found: dict[str, tuple[int, int]] = {}
    for item in journal.store.list(""):
        area = item.key.partition("/")[0]
        objects, size = found.get(area, (0, 0))
        found[area] = (objects + 1, size + item.size)
    return found
