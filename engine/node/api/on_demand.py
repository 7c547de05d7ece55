"""Trees that hosts fill on demand, as they are asked for and as their hosts tell of them: read strictly."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from engine.fill.base import MODULES
from engine.model.errors import UsageError
from engine.node.api import fields
from engine.node.callers.access import need_group
from engine.node.parts import Parts
from engine.recovery.on_demand.making import AWAY_SECONDS, RATE_BYTES

NAMED_MAX = 100
AWAY_SECONDS_MAX = 24 * 3600
"""So long who reads may be had to wait for a node that is away."""
_PATH_CHARS = 4096
_WORD_CHARS = 40
_COUNTS = ("files", "bytes_filled", "bytes_total", "files_left", "rate_bytes", "waiting", "begun_at")
_ASKED = ("paused", "finish", "cancel")


def asked(parts: Parts, request: Request, body: Mapping[str, Any], stream: str, host: str) -> dict[str, Any]:
    """How a tree is to be filled: engine.recovery.granting.Grant.on_demand. At its source's own place, where history
    goes on with it, that takes the role that a restore in place takes."""
    told = fields.mapping(body, "on_demand")
    if not host:
        raise UsageError("on demand is for hosts with an agent", hint="say --to HOST:DIR")
    mechanism = fields.text(told, "mechanism", "", chars_max=_WORD_CHARS)
    if mechanism and mechanism not in MODULES:
        raise UsageError(f"'{mechanism}' is no mechanism", hint=f"there are {' and '.join(MODULES)}")
    own = _is_own(parts, body, stream, host)
    if own:
        address = parts.desired.address(stream)
        need_group(request, "recoverer", address.split("/")[0] if address else None)
    away = fields.whole(told, "away_seconds", round(AWAY_SECONDS), low=1, high=AWAY_SECONDS_MAX)
    rate = fields.whole(told, "rate_bytes", RATE_BYTES)
    order = fields.text(told, "order", "", chars_max=_WORD_CHARS)
    together = {"order": order} if order else {}
    return {"mechanism": mechanism, "rate_bytes": rate, "own": own, "away_seconds": away, **together}


def wanted(body: Mapping[str, Any]) -> dict[str, Any]:
    """What is asked of a tree that fills: {paused, finish, cancel, rate_bytes}, each only if it is said."""
    found: dict[str, Any] = {}
    for name in _ASKED:
        if name in body:
            if not isinstance(body[name], bool):
                raise fields.wrong(name, body[name], "true or false")
            found[name] = body[name]
    if "rate_bytes" in body:
        found["rate_bytes"] = fields.whole(body, "rate_bytes")
    if not found:
        raise UsageError("nothing is asked for", hint=f"say one of {', '.join((*_ASKED, 'rate_bytes'))}")
    return found


def recovery(body: Mapping[str, Any]) -> dict[str, Any]:
    """How far a tree is, as its host says: engine.fill.life.shown."""
    told = fields.mapping(body, "recovery")
    left = told.get("seconds_left")
    listed = ("damaged", "holds", "written_unguarded")
    return {
        "state": fields.label(told, "state", chars_max=_WORD_CHARS),
        "mechanism": fields.text(told, "mechanism", "", chars_max=_WORD_CHARS),
        **{name: fields.whole(told, name, 0) for name in _COUNTS},
        "seconds_left": float(left) if isinstance(left, int | float) and 0 <= left < 1e12 else None,
        **{name: told.get(name) is True for name in ("away", "lasting")},
        **{name: fields.texts(told, name, count_max=NAMED_MAX, chars_max=_PATH_CHARS) for name in listed},
        "shortfalls": fields.texts(told, "shortfalls", count_max=NAMED_MAX, chars_max=_PATH_CHARS),
        "error": fields.text(told, "error", "", chars_max=_PATH_CHARS),
        "epoch": fields.whole(told, "epoch", 0) or None,
        "seconds": float(told["seconds"]) if isinstance(told.get("seconds"), int | float) else 0.0,
    }


def _is_own(parts: Parts, body: Mapping[str, Any], stream: str, host: str) -> bool:
    """Whether a tree lands where its source lives, all of it, on the source's host."""
    address = parts.desired.address(stream)
    if address is None or address.split("/")[1] != host or body.get("path") is not None:
        return False
    paths = [os.path.normpath(str(path)) for path in parts.desired.sources[address].get("paths", ())]
    return paths == [os.path.normpath(str(body.get("dir", "")))]
