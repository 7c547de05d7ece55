"""Ask the embedded node, through its socket below BCS_HOME."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bcsctl.settings import Settings
from engine.env.unix_http import request_json
from engine.model.errors import Unreachable

START_HINT = "the node is not running: `bcsctl apply` starts it, `bcsctl serve` runs it by hand"


def get(settings: Settings, target: str) -> dict[str, Any]:
    """The node's answer to a question. Unreachable, with what to do, when it is not running."""
    return _ask(settings, "GET", target, None)


def post(settings: Settings, target: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The node's answer to an order."""
    return _ask(settings, "POST", target, body)


def _ask(settings: Settings, method: str, target: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
    try:
        return request_json(settings.socket, method, target, body)
    except Unreachable as error:
        raise Unreachable(error.message, hint=START_HINT) from None
