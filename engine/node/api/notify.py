"""What the command line asks of the watch: what stands, what waits to be sent, and test messages."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from engine.model.errors import Refused
from engine.node.alerts.watch import Watch
from engine.node.api import fields
from engine.node.api.web import Answer, answering, read_json
from engine.node.callers.access import allow, who, with_origin
from engine.node.parts import Parts

_NAME_CHARS = 200


def routes(parts: Parts) -> list[Route]:
    """The routes, bound to the node's parts. Both are about the whole site, so the role is needed on every group."""

    async def listed(request: Request) -> Response:
        return Answer(await asyncio.to_thread(_watch(parts).as_json))

    async def test(request: Request) -> Response:
        name = fields.text(await read_json(request, parts.bodies), "name", "", chars_max=_NAME_CHARS)
        results = await asyncio.to_thread(_watch(parts).test, name)
        told = [f"{each['notification']} to {each['to']}: {each['error'] or 'delivered'}" for each in results]
        await asyncio.to_thread(
            parts.audit.act, "notification-test", who(request), with_origin(request, {"sent": told})
        )
        return Answer({"results": results})

    return [
        Route("/v1/notifications", answering(allow("viewer", listed)), methods=["GET"]),
        Route("/v1/notifications/test", answering(allow("operator", test)), methods=["POST"]),
    ]


def _watch(parts: Parts) -> Watch:
    if parts.watch is None:
        raise Refused("this node does not watch")
    return parts.watch
