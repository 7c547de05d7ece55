"""Epochs that continue an older position: history goes on from what a recovery on demand has brought back.

Opened by a recorded act of somebody's who may, never by an agent: what came after that position is no more current.
"""

from __future__ import annotations

from collections.abc import Mapping

from engine.model.ids import Position
from engine.model.lineage import Epoch

_CAUSE = "recovery "


def cause_of(recovery: str) -> str:
    """What the epoch says that a recovery opened."""
    return f"{_CAUSE}{recovery}"


def recovery_at(epochs: Mapping[int, Epoch], head: Position) -> str:
    """The recovery on whose tree a writer goes on at the head of an epoch without events; "" if there is none.

    Epochs without events may stand between that one and the recovery's own: another writer's, say.
    """
    at: Position | None = head
    while at is not None and at.lsn == head.lsn and (epoch := epochs.get(at.epoch)) is not None:
        if epoch.cause.startswith(_CAUSE) and epoch.parent is not None and epoch.parent.lsn == head.lsn:
            return epoch.cause.removeprefix(_CAUSE)
        at = epoch.parent
    return ""
