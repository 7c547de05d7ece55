"""Documents: the journal's small JSON objects, in one canonical form with a hash of key and content inside.

One changed bit, another document's bytes under this key, a cut end: all of it shows when the document is read.
The form: one line, keys sorted, no spaces, ASCII; `check` is BLAKE3, 128 bits, of the object's key, a zero byte and
the same line without `check`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from blake3 import blake3

from engine.model.errors import Damaged

CHECK = "check"
_HINT = "run `bcsctl check`; a replica may still have the object"


def encode(key: str, fields: Mapping[str, Any]) -> bytes:
    """The bytes of a document that is to be stored under `key`. `fields` must be JSON and have no `check`."""
    if CHECK in fields:
        raise ValueError(f"the document {key} may not bring its own '{CHECK}'")
    return _line({**fields, CHECK: _check(key, fields)})


def decode(key: str, content: bytes) -> dict[str, Any]:
    """The fields of the document under `key`, without `check`. Raises Damaged if it is not what was written there."""
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise damaged(key, f"it is no JSON: {error}") from None
    if not isinstance(fields, dict) or CHECK not in fields:
        raise damaged(key, f"it has no '{CHECK}'")
    stated = fields.pop(CHECK)
    if stated != _check(key, fields) or _line({**fields, CHECK: stated}) != content:
        raise damaged(key, "its content does not match its hash")
    return fields


def damaged(key: str, why: str) -> Damaged:
    """The error for a document that can't be trusted."""
    return Damaged(f"object {key} is damaged: {why}", hint=_HINT, details={"object": key})


def _line(fields: Mapping[str, Any]) -> bytes:
    return (
        json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode() + b"\n"
    )


def _check(key: str, fields: Mapping[str, Any]) -> str:
    return blake3(key.encode() + b"\0" + _line(fields)).hexdigest(16)
