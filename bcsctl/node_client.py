"""Ask the embedded node, through its socket below BCS_HOME."""

from __future__ import annotations

from typing import Any

from bcsctl.settings import Settings
from engine.env.endpoint import request_json
from engine.model.errors import Unreachable

START_HINT = "the node is not running: `bcsctl apply` starts it, `bcsctl serve` runs it by hand"


def get(settings: Settings, target: str) -> dict[str, Any]:
    """The node's answer to a question. Unreachable, with what to do, when it is not running."""
    try:
        return request_json(settings.socket, "GET", target)
    except Unreachable as error:
        raise Unreachable(error.message, hint=START_HINT) from None
