"""What a shorter retention would cost: how many points of each source would go, once expiry runs. Changes nothing."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from engine.journal.open import open_local
from engine.model.errors import BcsError
from engine.model.policy.resolved import SourceSpec
from engine.plan.reconcile import Plan
from engine.plan.retention import REMOVE, sweep
from engine.query.points import points
from engine.query.session import Session


def with_points_removed(home: Path, plan: Plan, now: int) -> Plan:
    """The plan with `points_removed` in the actions whose sources get a shorter retention, as of `now` (microseconds).

    Without it at other sites than this machine's, and where the journal can't be read: a plan needs no whole journal.
    """
    shortened = [each for each in plan.desired.sources if each.embedded and str(each.address) in plan.guard.shortens]
    if not shortened:
        return plan
    try:
        counts = _counts(home, shortened, now)
    except (BcsError, OSError, ValueError):
        return plan
    actions = tuple(
        replace(action, points_removed=counts[action.name])
        if action.kind == "Source" and action.name in counts
        else action
        for action in plan.actions
    )
    return replace(plan, actions=actions)


def _counts(home: Path, sources: Collection[SourceSpec], now: int) -> dict[str, int]:
    master_key = bytes.fromhex((home / "keys" / "master.key").read_text("ascii").strip())
    found: dict[str, int] = {}
    with Session(open_local(home / "journal", master_key)) as session:
        for spec in sources:
            decisions = sweep(points(session, spec.stream_id), spec.retention, now)
            found[str(spec.address)] = sum(decision.verdict == REMOVE for decision in decisions)
    return found
