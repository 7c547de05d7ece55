"""What a retention would take: how many points of a stream go once expiry runs. Changes nothing."""

from __future__ import annotations

from engine.model.policy.retention import Tiers
from engine.plan.retention import REMOVE, sweep
from engine.query.points import points
from engine.query.session import Session


def points_expiring(session: Session, stream: str, tiers: Tiers, now: int) -> int:
    """How many points of the stream go by these tiers, as of `now` (microseconds)."""
    return sum(decision.verdict == REMOVE for decision in sweep(points(session, stream), tiers, now))
