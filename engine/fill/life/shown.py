"""A recovery as JSON: for `bcsctl recover`, and for the node that a host tells how far it is."""

from __future__ import annotations

from typing import Any

from engine.fill.base import CANCELLED, FAILED, FILLING, LIVING
from engine.fill.life.recoveries import Recovery
from engine.model.times import format_time


def as_json(found: Recovery) -> dict[str, Any]:
    """One recovery, with what it is and how far it is."""
    recipe, now = found.recipe, found.progress
    return {
        "id": recipe.id,
        "order": recipe.order or None,
        "address": recipe.address,
        "dir": recipe.dir,
        "point": recipe.position,
        "at": format_time(recipe.point_at),
        "class": recipe.point_class,
        "state": found.word,
        "mechanism": recipe.mechanism,
        "begun_at": format_time(recipe.begun_at),
        "files": recipe.files,
        "bytes_filled": filled(found),
        "bytes_total": recipe.bytes,
        "files_left": now.files_left,
        "rate_bytes": now.rate_bytes if found.word == FILLING else 0,
        "seconds_left": found.seconds_left,
        "waiting": now.waiting,
        "away": now.away,
        "damaged": now.damaged,
        "holds": now.holds,
        "written_unguarded": list(found.written),
        "lasting": recipe.lasting,
        "error": found.state.error,
    }


def filled(found: Recovery) -> int:
    """Of all bytes of the tree; what was empty or a hole from the beginning counts as filled."""
    if found.state.state not in (*LIVING, CANCELLED, FAILED):
        return found.recipe.bytes
    return found.progress.bytes_filled
