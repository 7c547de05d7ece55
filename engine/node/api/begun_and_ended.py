"""The beginning and the end of a restore over the network, each in the audit before anybody hears of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from engine.model.times import format_time
from engine.node import errands
from engine.node.callers.access import with_origin
from engine.node.parts import Parts
from engine.node.restores import Restore, Sent
from engine.recovery.granting import CANCELLED, DONE, End, Grant
from engine.recovery.told import act_json
from engine.tree.paths import path_json

_APART = ("scratch", "checked", "moves", "standing")
"""What of an outcome the audit keeps in another form, or not at all."""


async def opened(parts: Parts, request: Request, grant: Grant, sent: Sent | None, told: Mapping[str, Any]) -> Restore:
    """Record that it begins, and grant it: its receiver hears of it. What only looks is recorded nowhere."""
    if what := errands.BEGUN.get(grant.way):
        details = with_origin(request, {**_details(grant), **told})
        await asyncio.to_thread(parts.audit.act, what, grant.by, details)
    restore = await parts.restores.open(grant, sent)
    await parts.desired.news()
    return restore


async def end_restore(parts: Parts, request: Request, restore: Restore, end: End) -> None:
    """Record an end, in the audit and in the journal. One that came before stays."""
    grant = restore.grant

    async def record() -> None:
        if what := errands.ENDED.get(grant.way):
            details = {**_details(grant), **_done(end), **errands.outcome_details(grant, end.outcome)}
            await asyncio.to_thread(parts.audit.act, what, grant.by, with_origin(request, details))

    if await parts.restores.close(restore, end, record):
        await parts.desired.news()


def _done(end: End) -> dict[str, Any]:
    """How it ended, as the audit keeps it. Nothing that was not done to its end is verified."""
    told = {"state": end.state, **act_json({name: end.outcome[name] for name in end.outcome if name not in _APART})}
    if end.state != DONE:
        told |= {"verified": False, "error": str(end.error.get("message", ""))[:500]}
        told |= {"code": str(end.error.get("code", ""))[:40]} if end.error else {}
    if end.state == CANCELLED:
        told["cancelled_by"] = end.by
    return told


def _details(grant: Grant) -> dict[str, Any]:
    """Who, what, where: of a restore's beginning and of its end."""
    return {
        "restore": grant.id,
        "address": grant.address,
        "stream": grant.stream,
        **path_json(os.fsencode(grant.base)),
        "point": grant.position,
        "at": format_time(grant.point_at),
        "class": grant.point_class,
        **({"in_place": True, "undo": grant.undo} if grant.before else path_json(os.fsencode(grant.dir), "target")),
        **({"host": grant.host} if grant.host else {}),
        **({"on_demand": True} if grant.on_demand else {}),
        **({"order": grant.on_demand["order"]} if grant.on_demand.get("order") else {}),
        **errands.details(grant),
    }
