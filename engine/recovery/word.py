"""What only a running node knows of a source: the gap that is open now, up to when it is complete. No journal holds
that yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.model.points import Gap
from engine.model.times import parse_time

SILENCE = {
    "silent": "the agent is silent",
    "refused": "the agent's host is refused",
    "never-seen": "the node has not heard of the agent since it started",
}


@dataclass(frozen=True, slots=True)
class Word:
    """`gap` is the open one, None without; `through_at` up to when the source is complete, microseconds of site time,
    None for not known."""

    gap: Gap | None = None
    through_at: int | None = None


def word_of(row: Mapping[str, Any]) -> Word:
    """What a row of the node's status says. An agent that is not heard of sees nothing that we could count on, so its
    silence is a gap since the moment up to which the source was known to be complete."""
    through_at = _time(row["through_at"])
    since = _time(row["gap_open_since"])
    if since is not None:
        why = row["message"] or row.get("gap_open_reason") or "the agent is catching up"
        return Word(Gap(since, None, why), through_at)
    if row["healthy"] in SILENCE and through_at is not None:
        return Word(Gap(through_at, None, SILENCE[row["healthy"]]), through_at)
    return Word(None, through_at)


def _time(text: str | None) -> int | None:
    return parse_time(text, 0) if text else None
