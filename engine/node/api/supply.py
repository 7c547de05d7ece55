"""What a host asks that fills a tree on demand, and what people ask of such a tree.

Contents are given to the host that was named when the restore was ordered, of the files of that grant, and until it is
over or was cancelled: an agent can begin none by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from engine.model.errors import NothingThere, Refused, UsageError
from engine.model.ids import parse_address, parse_position
from engine.node.api import fields, on_demand
from engine.node.api.recoveries import WHAT, point_with_names
from engine.node.api.restores import by_whom, of_group, received
from engine.node.api.web import Answer, answering, read_json
from engine.node.callers.access import AGENT, ITS_GROUPS, allow, need_group, with_origin
from engine.node.forks import cause_of
from engine.node.parts import Parts
from engine.node.recovered import follow_fork
from engine.node.restores import Restore
from engine.recovery.on_demand.supplying import RANGE_BYTES_MAX, Supplied

ACT = "recover"
_T = TypeVar("_T")


def routes(parts: Parts) -> list[Route]:
    """The routes, bound to the node's parts."""
    supplies = parts.restores.supplies

    async def data(request: Request) -> Response:
        restore = await _filling(request)
        file, offset, length = range_asked(request)
        whole = await _worked_out(restore, lambda supplied: supplied.range(file, offset, length))
        return Response(whole, media_type="application/octet-stream")

    async def heat(request: Request) -> Response:
        restore = await _filling(request)
        return Answer({"heat": await _worked_out(restore, lambda supplied: supplied.heat())})

    async def holes(request: Request) -> Response:
        restore = await _filling(request)
        return Answer({"holes": await _worked_out(restore, lambda supplied: supplied.holes())})

    async def ranges(request: Request) -> Response:
        restore = await _filling(request)
        return Answer({"ranges": await _worked_out(restore, lambda supplied: supplied.data())})

    async def names(request: Request) -> Response:
        restore = await _filling(request)
        if not restore.grant.on_demand["own"]:
            raise Refused(f"restore {restore.grant.id} is not to its source's own place")
        page = int(request.path_params["page"])
        found = await _worked_out(restore, lambda supplied: supplied.names(page))
        if found is None:
            raise NothingThere(f"there is no page {page} of names")
        return Response(found, media_type="application/octet-stream")

    async def go_on(request: Request) -> Response:
        """The tree is guarded at its source's own place: history goes on from its point, as it was ordered to."""
        restore = await _filling(request)
        grant = restore.grant
        if not grant.on_demand["own"]:
            raise Refused(f"restore {grant.id} is not to its source's own place")
        address = parts.desired.address(grant.stream)
        if address is None:
            raise Refused(f"stream {grant.stream} is protected no more")
        position = parse_position(grant.position)
        parent = await asyncio.to_thread(point_with_names, parts, grant.stream, position)
        if parent is None:
            raise NothingThere(f"{position} is no recovery point of {address}")
        told: dict[str, Any] = {
            "address": address,
            "stream": grant.stream,
            "recovery": grant.id,
            "point": grant.position,
        }
        told |= {"dir": grant.dir, "host": grant.host, "in_place": True}
        await asyncio.to_thread(parts.audit.act, WHAT, grant.by, with_origin(request, told))
        epoch = await asyncio.to_thread(parts.committer.forks.open, grant.stream, parent, cause_of(grant.id))
        await asyncio.to_thread(follow_fork, parts.journal, parts.facts, grant.stream, epoch.number)
        return Answer({"epoch": epoch.number, "parent": str(epoch.parent)}, 201)

    async def want(request: Request) -> Response:
        restore = await of_group(parts, request, "operator")
        body = await read_json(request, parts.bodies)
        changes = on_demand.wanted(body)
        if not restore.grant.on_demand:
            raise Refused(f"restore {restore.grant.id} does not fill on demand")
        if restore.grant.on_demand["own"]:
            need_group(request, "recoverer", parse_address(restore.grant.address).group)
        if restore.end is not None:
            raise Refused(f"recovery {restore.grant.id} has ended: {restore.state}")
        if restore.wanted.get("cancel"):
            raise Refused(f"recovery {restore.grant.id} was cancelled", hint="its tree is being removed")
        await parts.restores.want(restore, {**restore.wanted, **changes})
        do = fields.text(body, "do", "", chars_max=20)
        grant = restore.grant
        told: dict[str, Any] = {
            "address": grant.address,
            "stream": grant.stream,
            "id": grant.id,
            "restore": grant.id,
            "do": do,
        }
        told |= {"host": grant.host, "target": grant.dir, "on_demand": True, **changes}
        await asyncio.to_thread(parts.audit.act, ACT, by_whom(request, body), with_origin(request, told))
        return Answer(restore.as_json())

    async def _filling(request: Request) -> Restore:
        restore = await received(parts, request)
        if not restore.grant.on_demand:
            raise Refused(f"restore {restore.grant.id} does not fill on demand")
        if restore.wanted.get("cancel"):
            raise Refused(f"restore {restore.grant.id} was cancelled", details={"state": "cancelled"})
        return restore

    async def _worked_out(restore: Restore, work: Callable[[Supplied], _T]) -> _T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(supplies.pool, lambda: work(supplies.of(restore.grant)))

    def route(path: str, endpoint: Any, method: str) -> Route:
        return Route(path, answering(allow((AGENT,), endpoint, ITS_GROUPS)), methods=[method])

    of = "/v1/restores/{id}"
    return [
        route(f"{of}/data", data, "GET"),
        route(f"{of}/heat", heat, "GET"),
        route(f"{of}/holes", holes, "GET"),
        route(f"{of}/ranges", ranges, "GET"),
        route(f"{of}/names/{{page:int}}", names, "GET"),
        route(f"{of}/go-on", go_on, "POST"),
        Route(f"{of}/wanted", answering(allow("operator", want, ITS_GROUPS)), methods=["POST"]),
    ]


def range_asked(request: Request) -> tuple[int, int, int]:
    """(file_id, offset, length) of the bytes that a host asks for."""
    file, offset, length = (_number(request, name) for name in ("file", "offset", "length"))
    if not 0 < length <= RANGE_BYTES_MAX:
        raise UsageError(f"{length} bytes at once are not given", hint=f"1 to {RANGE_BYTES_MAX}")
    return file, offset, length


def _number(request: Request, name: str) -> int:
    text = request.query_params.get(name, "")
    if not text.isascii() or not text.isdigit() or len(text) > 19:
        raise UsageError(f"'{name}' is {text[:40]!r}, no number")
    return int(text)
