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

SEAL = "seal"


def take_next(journal: Journal, prefix: str, fields: Mapping[str, Any]) -> int:
    """Create the object with the next free number; its number."""
    return documents.take_next(journal.store, prefix, {**fields, SEAL: _seal(journal, prefix, fields)})


def put_number(journal: Journal, prefix: str, number: int, fields: Mapping[str, Any]) -> None:
    """Create the object with exactly this number. Raises AlreadyThere."""
    bound = {**fields, "of": number}
    documents.put_number(journal.store, prefix, number, {**bound, SEAL: _seal(journal, prefix, bound)})


def get(journal: Journal, prefix: str, number: int) -> dict[str, Any]:
    """What was written under a number. Raises Missing, and Damaged for what this site did not write."""
    key = documents.numbered_key(prefix, number)
    fields = documents.get(journal.store, key)
    told = {name: value for name, value in fields.items() if name not in (SEAL, "number")}
    sealed = hmac.compare_digest(str(fields.get(SEAL)), _seal(journal, prefix, told))
    if not sealed or told.pop("of", number) != number:
        raise Damaged(f"object {key} was not written by this site", hint="remove it", details={"object": key})
    return told


def numbers(journal: Journal, prefix: str) -> list[int]:
    """The numbers there are, ascending."""
    return documents.numbers(journal.store, prefix)


def _seal(journal: Journal, prefix: str, fields: Mapping[str, Any]) -> str:
    key = hmac.digest(journal.keyring.site_key(), f"bcs {prefix}".encode(), "sha256")
    text = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
    return hmac.digest(key, text, "sha256").hex()
