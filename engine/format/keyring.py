"""Data keys, wrapped for storage by the site's master key (RFC 3394). Pure: bytes in, fields of a document out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from engine.model.errors import Refused

KEY_BYTES = 32


def wrap(data_key: bytes, master_key: bytes, *, scope: str, number: int, created_at: int) -> dict[str, Any]:
    """The fields of `keys/<scope>/<number>.json`."""
    check_length(data_key, "a data key")
    check_length(master_key, "the master key")
    wrapped = aes_key_wrap(master_key, data_key).hex()
    return {"scope": scope, "number": number, "created_at": created_at, "wrapped": {"master": wrapped}}


def unwrap(fields: Mapping[str, Any], master_key: bytes) -> bytes:
    """The data key. Raises Refused when this master key is not the one that wrapped it."""
    check_length(master_key, "the master key")
    try:
        return aes_key_unwrap(master_key, bytes.fromhex(fields["wrapped"]["master"]))
    except (InvalidUnwrap, KeyError, TypeError, ValueError):
        raise Refused(
            f"the master key does not open key {fields.get('number')} of {fields.get('scope')}",
            hint="keys/master.key belongs to another journal: put the one that was made with this journal in place",
        ) from None


def check_length(key: bytes, what: str) -> None:
    if len(key) != KEY_BYTES:
        raise ValueError(f"{what} has {len(key)} bytes, not {KEY_BYTES}")
