"""Documents in the store: put, get, and number by creating. See engine.format.documents for their form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.format import documents, names
from engine.store.base import AlreadyThere, Store

_TRIES_MAX = 1000


def put(store: Store, key: str, fields: Mapping[str, Any]) -> None:
    """Create a document. Raises AlreadyThere."""
    store.put(key, documents.encode(key, fields))


def get(store: Store, key: str) -> dict[str, Any]:
    """A document's fields. Raises Missing, and Damaged if it is not what was written."""
    return documents.decode(key, store.get(key))


def numbers(store: Store, prefix: str) -> list[int]:
    """The numbers that are taken under `prefix`, ascending."""
    found = (names.number_in(item.key) for item in store.list(prefix))
    return sorted(number for number in found if number is not None)


def take_next(store: Store, prefix: str, fields: Mapping[str, Any]) -> int:
    """Create the document with the next free number under `prefix`, from 1, and give that number.

    `fields` get `number`. Of several who take at once each gets a number of its own. A number may be left unused
    by one who never learned that it had taken it.
    """
    number = max(numbers(store, prefix), default=0)
    for _ in range(_TRIES_MAX):
        number += 1
        try:
            put(store, numbered_key(prefix, number), {**fields, "number": number})
            return number
        except AlreadyThere:
            continue
    raise RuntimeError(f"{_TRIES_MAX} numbers under {prefix} were taken by others in a row")


def put_number(store: Store, prefix: str, number: int, fields: Mapping[str, Any]) -> None:
    """Create the document with exactly this number. Raises AlreadyThere when somebody else was first."""
    put(store, numbered_key(prefix, number), {**fields, "number": number})


def numbered_key(prefix: str, number: int) -> str:
    """The key of a numbered document, eight digits."""
    return f"{prefix}{number:08d}.json"
