"""Numbers with their nouns, as people read them."""

from __future__ import annotations


def counted(count: int, noun: str, several: str = "") -> str:
    """`1 source`, `1,234 sources`; `several` is the noun of more than one where an s does not make it."""
    return f"{count:,} {noun if count == 1 else several or f'{noun}s'}"


def as_were(names: int) -> str:
    """`1 name as it was`, `3 names as they were`."""
    return f"{counted(names, 'name')} as {'it was' if names == 1 else 'they were'}"
