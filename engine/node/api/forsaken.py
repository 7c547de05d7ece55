"""Closing an order whose host is gone for ever: what fills on demand there ends by somebody's word, which is recorded.

A host that is heard ends it itself, by removing the tree; of one that is not, nothing is known. So it is refused while
the host may yet speak. One that comes back all the same is told that it is over, and removes the tree then.
"""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from engine.model.errors import Refused
from engine.model.ids import parse_address
from engine.model.times import MINUTE, format_about, format_time
from engine.node.api.begun_and_ended import end_restore
from engine.node.api.restores import by_whom, of_group
from engine.node.api.web import Answer, answering, read_json
from engine.node.callers.access import ITS_GROUPS, allow, need_group, with_origin
from engine.node.parts import Parts
from engine.node.restores import Restore
from engine.recovery.granting import CANCELLED, End

ACT, DO = "recover", "forsake"
GONE_AFTER = 10 * MINUTE
"""A host that was heard of within this time may yet speak."""


def routes(parts: Parts) -> list[Route]:
    """The route, bound to the node's parts."""

    async def forsake(request: Request) -> Response:
        restore = await of_group(parts, request, "operator")
        body = await read_json(request, parts.bodies)
        grant, now, by = restore.grant, parts.clock.now(), by_whom(request, body)
        if not grant.on_demand:
            raise Refused(f"restore {grant.id} does not fill on demand")
        if grant.on_demand["own"]:
            need_group(request, "recoverer", parse_address(grant.address).group)
        if restore.end is not None:
            raise Refused(f"recovery {grant.id} has ended: {restore.state}")
        heard_at = _heard_at(parts, restore)
        refuse_unless_gone(grant.host, now - max(heard_at, grant.opened_at, parts.restores.begun_at))
        if not restore.wanted.get("cancel"):
            await parts.restores.want(restore, {**restore.wanted, "cancel": True})
        since = f"since {format_time(heard_at)}" if heard_at else "since this node started"
        message = f"host {grant.host} has not been heard of {since}: nothing is known of {grant.dir} there"
        told: dict[str, Any] = {"address": grant.address, "stream": grant.stream, "id": grant.id, "restore": grant.id}
        told |= {"host": grant.host, "target": grant.dir, "on_demand": True, "do": DO, "reason": message}
        await asyncio.to_thread(parts.audit.act, ACT, by, with_origin(request, told))
        hint = "should the host come back, it removes the tree"
        error = {"code": "host-gone", "message": message, "hint": hint, "details": {"host": grant.host}}
        await end_restore(parts, request, restore, End(CANCELLED, now, by, {}, error))
        return Answer(restore.as_json())

    endpoint = answering(allow("operator", forsake, ITS_GROUPS))
    return [Route("/v1/restores/{id}/forsake", endpoint, methods=["POST"])]


def _heard_at(parts: Parts, restore: Restore) -> int:
    """When this node last heard of the host, of the tree or of anything else; 0 for not since it started."""
    agent = parts.agents.get(restore.grant.host)
    return max(restore.heard_at, agent.heard_at if agent is not None else 0)


def refuse_unless_gone(host: str, silent: int) -> None:
    """Refused while a host, silent for so many microseconds, may yet say what became of the tree."""
    if silent <= GONE_AFTER:
        raise Refused(
            f"host {host} may yet be heard: it has been silent for {format_about(max(silent, 0))}",
            hint=f"without --gone it removes the tree once it is heard; it counts as gone after "
            f"{format_about(GONE_AFTER)} of silence, since this node started",
            details={"host": host},
        )
