"""Ask the site's node: the embedded one through its socket below BCS_HOME, a remote one over TLS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from bcsctl.settings import Settings
from engine.env.endpoint import request_json
from engine.model.errors import Unreachable

START_HINT = "the node is not running: `bcsctl apply` starts it, `bcsctl serve` runs it by hand"

LOGIN_HINT = "for a site's node: `bcsctl login URL`"


@contextmanager
def told_how_to_start(settings: Settings) -> Iterator[None]:
    """Within it an Unreachable of the embedded node says what to do."""
    try:
        yield
    except Unreachable as error:
        if settings.site is not None:
            raise
        here = settings.journal.is_dir()
        raise Unreachable(error.message, hint=START_HINT if here else f"{START_HINT}; {LOGIN_HINT}") from None


def post(settings: Settings, target: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The node's answer to a request. Unreachable, with what to do, when it is not running."""
    return _asked(settings, "POST", target, body)


def get(settings: Settings, target: str) -> dict[str, Any]:
    """The node's answer to a question. Unreachable, with what to do, when it is not running."""
    return _asked(settings, "GET", target, None)


def _asked(settings: Settings, method: str, target: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
    with told_how_to_start(settings):
        return request_json(settings.endpoint, method, target, body)
