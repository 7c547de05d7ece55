"""Restores over the network: opened by a user, received by one host or by whoever opened it, seen by both.

Nobody but the receiver is given a byte, and nothing once the restore is over. Who asked for what, where it goes and
how it ended is in the audit stream, the beginning before the first byte leaves.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from engine.journal.open import seen_by
from engine.model.errors import NotAuthorised, Refused, UsageError
from engine.model.ids import parse_address
from engine.model.points import Gap, Point, parse_moment
from engine.model.times import SECOND, parse_time
from engine.node import errands
from engine.node.api import fields, on_demand
from engine.node.api.begun_and_ended import end_restore, opened
from engine.node.api.web import Answer, answering, read_json
from engine.node.callers.access import (
    AGENT,
    ITS_GROUPS,
    allow,
    caller_of,
    need_group,
    rights_in,
    sight,
    who,
    with_origin,
)
from engine.node.desired import bounded
from engine.node.monitoring.overview import site_status
from engine.node.parts import Parts
from engine.node.restores import Restore, Restores, Sent, changes_to_send, over, prepared_to_send
from engine.query import points, streams
from engine.query.session import Session
from engine.recovery import granting
from engine.recovery.granting import CANCELLED, DONE, FAILED, End, Grant
from engine.recovery.in_place.told import COUNTED
from engine.recovery.told import point_json
from engine.wire.errands import LOOK, SCRATCH

LIVING_WITHIN = 15 * SECOND
"""An agent that was heard of within this time is there to receive a restore."""
FRESH_WITHIN = 10 * 60 * SECOND
"""A mark no older than this was set for the restore in place that names it."""
OPEN_MAX, TREES_MAX = 32, 200
"""So many restores are open at once; and so many trees that fill on demand, which are open for long and ask for little.
"""
WAIT_SECONDS_MAX = 30.0
_PATH_CHARS = 4096
_SILENT = ("silent", "never-seen")


def routes(parts: Parts) -> list[Route]:
    """The routes of restores, bound to the node's parts."""
    restores: Restores = parts.restores

    async def create(request: Request) -> Response:
        asked = await _asked(parts, request)
        id = granting.new_id()
        point, sent = await _prepared(parts, id, asked)
        if await request.is_disconnected():
            raise ClientDisconnect  # who asked gave up meanwhile: nothing may begin
        stream, planned = sent.stream, sent.plan
        told = {**point_json(point), "plan": planned}
        if asked["dry_run"]:
            return Answer({**told, "dry_run": True})
        for each in restores.forsaken(parts.clock.now()):
            error = {"code": "cancelled", "message": "its receiver did not come", "hint": "", "details": {}}
            await end_restore(parts, request, each, End(CANCELLED, parts.clock.now(), f"node {parts.name}", {}, error))
        refuse_unless_possible(parts, asked["host"], tree=bool(asked["on_demand"]))
        caller = caller_of(request)
        origin = str(with_origin(request, {})["from"])
        grant = Grant(
            id, asked["address"], stream.id, str(point.position), point.at, point.point_class, asked["path"],
            os.fsdecode(sent.base), asked["host"], asked["dir"], asked["verify"], asked["by"], origin,
            parts.clock.now(), [caller.kind, caller.name, caller.token],
            asked["before_position"], asked["exact"], asked["before"], asked["on_demand"], asked["way"], asked["how"],
        )  # fmt: skip
        counted = COUNTED if grant.before else ("files", "bytes")
        restore = await opened(parts, request, grant, sent, {"plan": {name: planned[name] for name in counted}})
        undo = {"undo": grant.undo} if grant.undo else {}
        return Answer({**told, "id": id, "host": grant.host, "version": restore.version, **undo}, 201)

    async def listed(request: Request) -> Response:
        seen = sight(request, "viewer").sees
        known = (each for each in restores.known.values() if each.grant.way != LOOK)
        found = [each for each in known if seen(_group(each.grant))]
        return Answer({"restores": [each.as_json() for each in found]})

    async def look(request: Request) -> Response:
        restore = await of_group(parts, request, "viewer")
        try:
            version = int(request.query_params.get("version", "-1"))
            seconds = bounded(float(request.query_params.get("wait", "0")), WAIT_SECONDS_MAX)
        except ValueError:
            raise UsageError("version and wait are numbers") from None
        await restores.wait(restore, version, seconds)
        return Answer(restore.as_json())

    async def cancel(request: Request) -> Response:
        restore = await of_group(parts, request, "operator")
        body = await read_json(request, parts.bodies)
        by = by_whom(request, body)
        if restore.grant.on_demand:
            await restores.want(restore, {**restore.wanted, "cancel": True})
            return Answer(restore.as_json())
        done = {"files": restore.files, "bytes": restore.bytes, "seconds": restore.seconds}
        error = {"code": "cancelled", "message": "the restore was cancelled", "hint": "", "details": {}}
        await end_restore(parts, request, restore, End(CANCELLED, parts.clock.now(), by, done, error))
        return Answer(restore.as_json())

    async def plan(request: Request) -> Response:
        restore = await received(parts, request)
        sent = await restores.sent(restore)
        plan = {"fingerprint": sent.sending.fingerprint.hex(), "steps": sent.sending.steps}
        return Answer({"id": restore.grant.id, **plan, **sent.told, **errands.plan_json(restore.grant, sent.sending)})

    async def of_plan(request: Request) -> tuple[Restore, int]:
        restore = await received(parts, request)
        sent = await restores.sent(restore)
        if request.query_params.get("plan") != sent.sending.fingerprint.hex():
            raise Refused("the plan is another one since the node started again", details={"state": "replanned"})
        number = str(request.path_params["number"])
        if not number.isascii() or not number.isdigit() or len(number) > 9:
            raise UsageError(f"'{number[:40]}' is no batch's number")
        return restore, int(number)

    async def batch(request: Request) -> Response:
        data = request.query_params.get("data", "1") != "0"
        return Response(await restores.batch(*await of_plan(request), data), media_type="application/octet-stream")

    async def listing(request: Request) -> Response:
        return Response(await restores.listing(*await of_plan(request)), media_type="application/octet-stream")

    async def progress(request: Request) -> Response:
        body = await read_json(request, parts.bodies)
        restore = await received(parts, request, over_too=True)
        if restore.end is not None:
            return Answer({"state": restore.state})
        now = parts.clock.now()
        outcome, error = fields.mapping(body, "outcome", {}), fields.mapping(body, "error", {})
        by = who(request)
        if error:
            state = CANCELLED if restore.wanted.get("cancel") else FAILED
            await end_restore(parts, request, restore, End(state, now, by, fields.mapping(body, "done", {}), error))
        elif outcome:
            await end_restore(parts, request, restore, End(DONE, now, by, outcome))
        elif restore.grant.on_demand:
            await restores.told_of(restore, now, on_demand.recovery(body))
        else:
            phase = fields.label(body, "phase", chars_max=20)
            seconds = body.get("seconds")
            spent = float(seconds) if isinstance(seconds, int | float) and 0 <= seconds < 1e9 else 0.0
            counts = (fields.whole(body, "files", 0), fields.whole(body, "bytes", 0))
            await restores.heard(restore, now, phase, *counts, spent)
        return Answer({"state": restore.state, **({"wanted": restore.wanted} if restore.grant.on_demand else {})})

    receiver = (AGENT, "operator")
    return [
        Route("/v1/restores", answering(allow("operator", create, ITS_GROUPS)), methods=["POST"]),
        Route("/v1/restores", answering(allow("viewer", listed, ITS_GROUPS)), methods=["GET"]),
        Route("/v1/restores/{id}", answering(allow("viewer", look, ITS_GROUPS)), methods=["GET"]),
        Route("/v1/restores/{id}/cancel", answering(allow("operator", cancel, ITS_GROUPS)), methods=["POST"]),
        Route("/v1/restores/{id}/plan", answering(allow(receiver, plan, ITS_GROUPS)), methods=["GET"]),
        Route("/v1/restores/{id}/batches/{number}", answering(allow(receiver, batch, ITS_GROUPS)), methods=["GET"]),
        Route("/v1/restores/{id}/listings/{number}", answering(allow(receiver, listing, ITS_GROUPS)), methods=["GET"]),
        Route("/v1/restores/{id}/progress", answering(allow(receiver, progress, ITS_GROUPS)), methods=["POST"]),
    ]


async def of_group(parts: Parts, request: Request, role: str) -> Restore:
    """The restore that a request names, for who has the role on its group."""
    if not rights_in(request).may_somewhere(role):
        need_group(request, role, None)
    restore = await parts.restores.find(request.path_params["id"])
    need_group(request, role, _group(restore.grant))
    return restore


async def received(parts: Parts, request: Request, *, over_too: bool = False) -> Restore:
    """The restore that a request names, for its receiver alone and as long as it is open."""
    restore = await parts.restores.find(request.path_params["id"])
    if not _may_receive(request, restore.grant):
        raise NotAuthorised(
            f"restore {restore.grant.id} is not for {who(request)[:100]}: "
            f"it goes to {'host ' + restore.grant.host if restore.grant.host else 'whoever opened it'}"
        )
    if caller_of(request).kind == "user":
        need_group(request, "operator", _group(restore.grant))
    if restore.end is not None and not over_too:
        raise over(restore)
    return restore


async def _asked(parts: Parts, request: Request) -> dict[str, Any]:
    """What a user asks for, checked; the role is needed on the source's group, by its name then and now."""
    body = await read_json(request, parts.bodies)
    address = fields.text(body, "address", chars_max=1_000)
    in_place = body.get("in_place") is True
    host = fields.text(body, "host", "", chars_max=253)
    way, how = errands.asked(body, host)
    role = "recoverer" if in_place or errands.needs_recoverer(way, how, host) else "operator"
    need_group(request, role, parse_address(address).group)
    folder = fields.text(body, "dir", "/" if in_place or way == SCRATCH else None, chars_max=_PATH_CHARS)
    if not folder.startswith("/") or "\0" in folder:
        raise UsageError(f"'{folder[:200]}' is not an absolute path", hint="write --to HOST:/the/whole/path")
    path = fields.text(body, "path", chars_max=_PATH_CHARS) if body.get("path") is not None else None
    # What is not there is told with names that are like it, but for those that the caller may not know of.
    known = seen_by(parts.journal, sight(request, role))
    found = await asyncio.to_thread(streams.find, known, address)
    for name in (found.group, (parts.desired.address(found.id) or address).split("/")[0]):
        need_group(request, role, name)
    if in_place:
        host = _its_host(parts, found.id, address)
    return {
        "address": address,
        "stream": found.id,
        "path": path,
        "at": fields.text(body, "at", "latest", chars_max=200),
        "host": host,
        "dir": folder,
        "verify": body.get("verify") is True,
        "dry_run": body.get("dry_run") is True,
        "by": by_whom(request, body),
        "in_place": in_place,
        "exact": in_place and body.get("exact") is True,
        "before": fields.text(body, "before", "", chars_max=200) if in_place else "",
        "before_position": "",
        "way": way,
        "how": how,
        "on_demand": on_demand.asked(parts, request, body, found.id, host) if "on_demand" in body else {},
    }


def _its_host(parts: Parts, stream: str, address: str) -> str:
    """The host whose source it is now: its own agent changes it where it stands. Refused when no policy names it."""
    called = parts.desired.address(stream)
    if called is None:
        raise Refused(
            f"{address} is protected no more, so nothing can be changed in place",
            hint="restore it to an empty directory with --to HOST:DIR",
        )
    return called.split("/")[1]


def by_whom(request: Request, body: Mapping[str, Any]) -> str:
    """Who asks. The Unix socket tells nobody's name, so its callers' word is taken, as for all their acts."""
    if caller_of(request).kind == "local":
        return fields.text(body, "who", "", chars_max=1_000) or who(request)
    return who(request)


async def _prepared(parts: Parts, id: str, asked: dict[str, Any]) -> tuple[Point, Sent]:
    """The point that answers, and all that is sent of it; worked out on a reader's thread."""
    now, stream = parts.clock.now(), str(asked["stream"])
    moment = parse_moment(asked["at"], now)
    named = moment.position is not None or moment.label is not None
    gap = None if named else await asyncio.to_thread(_open_gap, parts, stream)
    path = None if asked["path"] is None else os.fsencode(asked["path"])

    def work() -> tuple[Point, Sent]:
        with Session(parts.journal) as session:
            point = points.point_for(session, stream, moment, now, gap)
            point = replace(point, unseen=gap if moment.at is None else None)
            if asked["in_place"]:
                before = _before(session, asked, now)
                asked["before_position"] = str(before.position)
                ways = {"exact": asked["exact"], "verify": asked["verify"]}
                return point, changes_to_send(parts.journal, session, id, stream, (before, point), path, **ways)
            into = os.fsencode(asked["dir"])
            ways = {"contents": not asked["on_demand"], "counted": asked["dry_run"]}
            sent = prepared_to_send(parts.journal, session, id, stream, lambda: point, path, into, **ways)
            called = parts.desired.address(stream)
            own = called is not None and called.split("/")[1] == asked["host"]
            asked["how"] = errands.worked_out(parts.journal, session, sent.stream, point, asked, own)
            return point, sent

    reading = parts.readers.submit(work)
    parts.reads.add(reading)
    reading.add_done_callback(parts.reads.discard)
    return await asyncio.wrap_future(reading)


def _before(session: Session, asked: Mapping[str, Any], now: int) -> Point:
    """The mark from which a restore in place starts, and to which it is undone. Refused for one that is not fresh: what
    happened since is in no plan."""
    stream, moment = str(asked["stream"]), parse_moment(asked["before"] or "latest", now)
    found = points.point_for(session, stream, moment, now)
    if not asked["dry_run"] and (moment.label is None or now - found.at > FRESH_WITHIN):
        raise Refused("a restore in place begins with a fresh mark", hint="`bcsctl restore --in-place` sets one")
    return found


def _open_gap(parts: Parts, stream: str) -> Gap | None:
    """The gap that only this node knows of: the agent says that it is catching up, or says nothing."""
    address = parts.desired.address(stream)
    if address is None:
        return None
    group = address.split("/")[0]
    status = site_status(parts, lambda name: name == group, delays=False)
    rows = (row for each in status["groups"] for row in each["sources"] if row["address"] == address)
    for row in rows:
        if row["gap_open_since"]:
            return Gap(parse_time(row["gap_open_since"], 0), None, row["message"] or "the agent is catching up")
        if row["healthy"] in _SILENT and row["through_at"]:
            return Gap(parse_time(row["through_at"], 0), None, "the agent is silent")
    return None


def refuse_unless_possible(parts: Parts, host: str, *, tree: bool = False) -> None:
    """Refused while too many are open, or fill a `tree` on demand, and without the agent by which alone a host is
    restored to."""
    known, most = parts.restores.known.values(), TREES_MAX if tree else OPEN_MAX
    if sum(each.end is None and bool(each.grant.on_demand) == tree for each in known) >= most:
        what = "trees fill on demand" if tree else "restores are open"
        raise Refused(f"{most} {what} already", hint="wait until one of them has ended")
    if not host:
        return
    agent = parts.agents.get(host)
    if agent is None or parts.clock.now() - agent.heard_at > LIVING_WITHIN:
        silent = "" if agent is None else " any more"
        raise Refused(
            f"no agent of host '{host}' is heard of{silent}, and only its own agent can restore to it",
            hint="name the host under `agent.hosts` of its Site and run `bcsctl apply`; see `bcsctl status --hosts`",
            details={"host": host, "agent": None},
        )


def _may_receive(request: Request, grant: Grant) -> bool:
    caller = caller_of(request)
    if grant.host:
        named = request.query_params.get("host") == grant.host
        return named and (caller.kind == "local" or (caller.kind == "agent" and caller.host == grant.host))
    return caller.kind in ("local", "user") and [caller.kind, caller.name, caller.token] == grant.receiver


def _group(grant: Grant) -> str:
    return parse_address(grant.address).group
