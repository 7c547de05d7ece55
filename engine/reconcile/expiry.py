"""What a shorter retention would cost: how many points of each source would go, once expiry runs. Changes nothing."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from engine.journal.open import open_local
from engine.model.errors import BcsError
from engine.model.policy.resolved import SourceSpec
from engine.model.policy.retention import tiers_as_json
from engine.model.policy.site import EMBEDDED_SITE
from engine.plan.reconcile import Plan
from engine.query.expiring import points_expiring
from engine.query.session import Session


def with_points_removed(home: Path, plan: Plan, now: int) -> Plan:
    """The plan with `points_removed` in the actions whose sources get a shorter retention, as of `now` (microseconds).

    Without it where a journal can't be read, or its node does not say: a plan needs no whole journal.
    """
    shortened = [each for each in plan.desired.sources if str(each.address) in plan.guard.shortens]
    counts: dict[str, int] = {}
    for site in sorted({each.site for each in shortened}):
        of_site = [each for each in shortened if each.site == site]
        try:
            counts |= _counts(home, of_site, now) if site == EMBEDDED_SITE else _told(site, of_site)
        except (BcsError, OSError, ValueError):
            continue
    if not counts:
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
    with Session(open_local(home / "journal", master_key)) as session:
        return {str(each.address): points_expiring(session, each.stream_id, each.retention, now) for each in sources}


def _told(site: str, sources: Collection[SourceSpec]) -> dict[str, int]:
    """The same by the site's node, at its own time."""
    from engine.env import credentials
    from engine.env.endpoint import request_json

    credential = credentials.read(site)
    if credential is None:
        return {}
    endpoint = credential.endpoint()
    found = {}
    for each in sources:
        tiers = quote(json.dumps(tiers_as_json(each.retention)), safe="")
        target = f"/v1/streams/{each.stream_id}/expiring?tiers={tiers}"
        found[str(each.address)] = int(request_json(endpoint, "GET", target)["points"])
    return found
