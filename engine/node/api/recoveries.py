"""Recoveries on demand that a source's history goes on from: the epoch is opened here, and that is in the audit."""

from __future__ import annotations

import asyncio
import os

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from engine.model.errors import NothingThere, Refused
from engine.model.events import BOOKMARK
from engine.model.ids import Position, parse_position
from engine.model.points import parse_moment
from engine.node.api import fields
from engine.node.api.web import Answer, answering, read_json
from engine.node.callers.access import ITS_GROUPS, allow, caller_of, need_group, sight, who, with_origin
from engine.node.forks import cause_of
from engine.node.parts import Parts
from engine.node.recovered import follow_fork
from engine.query import points
from engine.query.session import Session

WHAT = "recovery"
_ID_CHARS = 64


def routes(parts: Parts) -> list[Route]:
    """The route, bound to the node's parts."""

    async def create(request: Request) -> Response:
        body = await read_json(request, parts.bodies)
        stream = str(request.path_params["stream"])[:_ID_CHARS]
        address = parts.desired.address(stream)
        group = address.split("/")[0] if address else ""
        if not group or not sight(request, "viewer").sees(group):  # whether there is such a stream is not for everybody
            need_group(request, "recoverer", None)
        if address is None:
            raise Refused(f"stream {stream} is protected no more", hint="recover it to another directory")
        need_group(request, "recoverer", group)
        id = fields.label(body, "id", chars_max=_ID_CHARS)
        position = parse_position(fields.text(body, "position", chars_max=_ID_CHARS))
        parent = await asyncio.to_thread(point_with_names, parts, stream, position)
        if parent is None:
            raise NothingThere(f"{position} is no recovery point of {address}", hint="`bcsctl points` lists them")
        by = fields.text(body, "who", "", chars_max=1_000) if caller_of(request).kind == "local" else ""
        details = {
            "address": address,
            "stream": stream,
            "recovery": id,
            "point": str(position),
            "dir": fields.text(body, "dir", "", chars_max=os.pathconf("/", "PC_PATH_MAX")),
            "in_place": True,
        }
        await asyncio.to_thread(parts.audit.act, WHAT, by or who(request), with_origin(request, details))
        epoch = await asyncio.to_thread(parts.committer.forks.open, stream, parent, cause_of(id))
        await asyncio.to_thread(follow_fork, parts.journal, parts.facts, stream, epoch.number)
        return Answer({"epoch": epoch.number, "parent": str(epoch.parent)}, 201)

    return [
        Route("/v1/streams/{stream}/recoveries", answering(allow("recoverer", create, ITS_GROUPS)), methods=["POST"])
    ]


def point_with_names(parts: Parts, stream: str, position: Position) -> Position | None:
    """The point at a position, and the bookmarks that name it, which follow it; None where no point is."""
    with Session(parts.journal) as session:
        now = parts.clock.now()
        found = points.point_for(session, stream, parse_moment(f"point:{position}", now), now)
        if found.position != position:
            return None
        names = {mark.lsn for mark in points.marks(session, stream, position.epoch) if mark.kind == BOOKMARK}
        last = position.lsn
        while last + 1 in names:
            last += 1
        return Position(position.epoch, last)
