"""Ask the site's node: the embedded one through its socket below BCS_HOME, a remote one over TLS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bcsctl.settings import Settings
from engine.env.endpoint import request_json
from engine.model.errors import Unreachable

START_HINT = "the node is not running: `bcsctl apply` starts it, `bcsctl serve` runs it by hand"


def post(settings: Settings, target: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The node's answer to a request. Unreachable, with what to do, when it is not running."""
    return _asked(settings, "POST", target, body)


def get(settings: Settings, target: str) -> dict[str, Any]:
    """The node's answer to a question. Unreachable, with what to do, when it is not running."""
    return _asked(settings, "GET", target, None)


def _asked(settings: Settings, method: str, target: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
    try:
        return request_json(settings.endpoint, method, target, body)
    except Unreachable as error:
        if settings.site is not None:
            raise
        raise Unreachable(error.message, hint=START_HINT) from None
