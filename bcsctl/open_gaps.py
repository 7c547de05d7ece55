"""What only a running node knows of a source: the gap that is open now, which no journal holds yet."""

from __future__ import annotations

from collections.abc import Collection

from bcsctl.node_client import get
from bcsctl.settings import Settings
from engine.model.errors import BcsError
from engine.recovery.word import Word, word_of

__all__ = ["Word", "ask", "word_of"]


def ask(settings: Settings, addresses: Collection[str]) -> Word | None:
    """The node's word on the source that has one of these addresses. None when it can't be had: the node is down, or
    no policy names the source any more."""
    try:
        status = get(settings, "/v1/status")
    except BcsError:
        return None
    for group in status["groups"]:
        for row in group["sources"]:
            if row["address"] in addresses:
                return word_of(row)
    return None
