"""Numbered control objects that only this site can have written: authenticated under its key, whoever keeps the store.

The store is untrusted: without this, who can write to it could make itself an enrolment.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from typing import Any

from engine.journal import documents
from engine.journal.open import Journal
from engine.model.errors import Damaged
from engine.store.base import AlreadyThere

SEAL, OF = "seal", "of"
"""The seal covers the object's number, as the field `of`: a copy under another number is none. It would have a token
that was revoked count again, or an enrolment that was used."""
_TRIES_MAX = 1000


def take_next(journal: Journal, prefix: str, fields: Mapping[str, Any]) -> int:
    """Create the object with the next free number, from 1; its number. Each of several at once gets one of its own."""
    number = max(numbers(journal, prefix), default=0)
    for _ in range(_TRIES_MAX):
        number += 1
        try:
            put_number(journal, prefix, number, fields)
            return number
        except AlreadyThere:
            continue
    raise RuntimeError(f"{_TRIES_MAX} numbers under {prefix} were taken by others in a row")


def put_number(journal: Journal, prefix: str, number: int, fields: Mapping[str, Any]) -> None:
    """Create the object with exactly this number. Raises AlreadyThere."""
    bound = {**fields, OF: number}
    documents.put_number(journal.store, prefix, number, {**bound, SEAL: _seal(journal, prefix, bound)})


def get(journal: Journal, prefix: str, number: int) -> dict[str, Any]:
    """What was written under a number. Raises Missing, and Damaged for what this site did not write."""
    key = documents.numbered_key(prefix, number)
    fields = documents.get(journal.store, key)
    told = {name: value for name, value in fields.items() if name not in (SEAL, "number")}
    sealed = hmac.compare_digest(str(fields.get(SEAL)), _seal(journal, prefix, told))
    if not sealed or told.pop(OF, None) != number:
        raise Damaged(f"object {key} was not written by this site", hint="remove it", details={"object": key})
    return told


def numbers(journal: Journal, prefix: str) -> list[int]:
    """The numbers there are, ascending."""
    return documents.numbers(journal.store, prefix)


def _seal(journal: Journal, prefix: str, fields: Mapping[str, Any]) -> str:
    key = hmac.digest(journal.keyring.site_key(), f"bcs {prefix}".encode(), "sha256")
    text = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
    return hmac.digest(key, text, "sha256").hex()
