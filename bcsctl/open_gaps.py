"""What only a running node knows of a source: the gap that is open now, which no journal holds yet."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from bcsctl.node_client import get
from bcsctl.output import BUSY, local_time, printable, say
from bcsctl.settings import Settings
from engine.model.errors import BcsError
from engine.model.times import parse_time
from engine.recovery.word import SILENCE, Word, word_of

__all__ = ["Word", "ask", "say_unseen", "word_of"]


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


def say_unseen(address: str, told: Mapping[str, Any]) -> None:
    """What the newest state of a source lacks while nobody watches it: `told` as `unseen_json` has it."""
    if "unseen_since" not in told:
        return
    since, reason = local_time(parse_time(told["unseen_since"], 0), 6), printable(told["unseen_reason"])
    silent = reason in (SILENCE["silent"], SILENCE["refused"])
    what = f"{reason} since {since}" if silent else f"a gap is open since {since} ({reason})"
    say(f"{address}: {what}: what changed since is not in it", BUSY)
