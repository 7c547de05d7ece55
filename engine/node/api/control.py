"""What the command line asks of a node: health, status, policies, marks, audit."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from engine.journal import control
from engine.model.errors import NothingThere, Refused, UsageError
from engine.model.points import CRASH, check_label
from engine.model.times import SECOND, format_time
from engine.node.api import fields
from engine.node.api.web import Answer, answering, read_json
from engine.node.applied import read_applied
from engine.node.callers.access import (
    ITS_GROUPS,
    LOCAL,
    NOBODY,
    allow,
    caller_of,
    need_group,
    rights_in,
    sight,
    who,
    with_origin,
)
from engine.node.expected import expected_since, hosts_in
from engine.node.labels import first_set, refuse_taken
from engine.node.monitoring.overview import site_status
from engine.node.parts import Parts
from engine.recovery.drill.vouched import vouch

POLICIES_BYTES_MAX = 64 << 20
AUDIT_BYTES_MAX = 1 << 20
WAIT_SECONDS_MAX = 86_400
"""Who waits longer for a mark waits for ever."""


def routes(parts: Parts, version: str) -> list[Route]:
    """The control routes, each bound to the node's parts."""

    async def health(request: Request) -> Response:
        if not rights_in(request).may("viewer"):
            return Answer({"version": version, "time": parts.clock.now()})
        return Answer(
            {
                "node": parts.name,
                "boot": parts.boot,
                "journal": parts.journal.id,
                "version": version,
                "policies": parts.desired.number,
                "time": parts.clock.now(),
                "agents": {
                    host: {"version": agent.version, "pid": agent.pid, "heard_at": format_time(agent.heard_at)}
                    for host, agent in parts.agents.items()
                },
            }
        )

    async def status(request: Request) -> Response:
        return Answer(await asyncio.to_thread(site_status, parts, sight(request, "viewer").sees))

    async def policies(request: Request) -> Response:
        applied = read_applied(await read_json(request, parts.bodies, POLICIES_BYTES_MAX))
        base = applied.pop("base")
        applied["applied_at"] = format_time(parts.clock.now())
        await asyncio.to_thread(vouch, parts.journal, applied)  # before they hold: a node that dies is asked again
        try:
            number = await asyncio.to_thread(control.follow, parts.journal.store, control.POLICIES, base, applied)
        except Refused as error:
            return Answer(error.as_json(), 409)
        await parts.desired.replace({**applied, "number": number})
        if parts.drills is not None:
            await asyncio.to_thread(parts.drills.take, {**applied, "number": number})
        details = {
            "number": number,
            "commit": applied["commit"],
            "dirty": applied["dirty"],
            "sources": sorted(applied["sources"]),
        }
        by = applied["by"]
        if caller_of(request).kind != "local":  # then what the request says of itself is only that
            details["by"], by = by, who(request)
        await asyncio.to_thread(parts.audit.act, "apply", by, with_origin(request, details))
        return Answer({"number": number}, 201)

    async def policies_latest(request: Request) -> Response:
        store = parts.journal.store
        applied = await asyncio.to_thread(control.latest, store, control.POLICIES)
        if applied is None:
            return Answer({"number": 0})
        revoked = parts.certificates.revoked() if parts.certificates else {}
        since = await asyncio.to_thread(expected_since, store, revoked, applied["number"], hosts_in)
        return Answer({**applied, "named_since": since})

    async def marks(request: Request) -> Response:
        body = await read_json(request, parts.bodies)
        group, label = fields.text(body, "group", chars_max=200), check_label(fields.label(body, "label"))
        need_group(request, "operator", group)
        wanted = fields.text(body, "class", "", chars_max=20)
        if wanted not in ("", CRASH):
            raise UsageError(f"a mark of class '{wanted}' can't be asked for", hint=f"{CRASH}, or none")
        if body.get("again") is not True:
            streams = parts.desired.streams_of(group)
            set_at = await asyncio.wrap_future(parts.readers.submit(first_set, parts.journal, streams, label))
            refuse_taken(label, group, set_at, parts.desired.marks.values(), parts.clock.now())
        wait = fields.whole(body, "wait_ms", 0) * (SECOND // 1000)
        until = parts.clock.now() + wait if 0 < wait <= WAIT_SECONDS_MAX * SECOND else 0
        asked = await parts.desired.ask_marks(group, label, wanted, until)
        await asyncio.to_thread(parts.kept_marks.write, dict(parts.desired.marks))
        if not asked:
            raise NothingThere(f"no group '{group}' is protected", hint="`bcsctl status` lists the groups")
        details = {"group": group, "label": label}
        await asyncio.to_thread(parts.audit.act, "mark", who(request), with_origin(request, details))
        return Answer({"marks": [{"id": mark.id, "address": mark.address} for mark in asked]}, 201)

    async def mark(request: Request) -> Response:
        found = parts.desired.marks.get(request.path_params["id"])
        if found is None or not sight(request, "operator").sees(found.address.split("/")[0]):
            raise NothingThere("this mark was not asked for, or long ago")
        told = {"done": found.done, "class": found.point_class, "reason": found.reason}
        return Answer({"id": found.id, "address": found.address, "label": found.label, **told})

    async def audit(request: Request) -> Response:
        body = await read_json(request, parts.bodies, AUDIT_BYTES_MAX)
        what, who = fields.label(body, "what"), fields.text(body, "who", "", chars_max=1_000)
        await asyncio.to_thread(parts.audit.act, what, who, fields.mapping(body, "details", {}))
        return Answer({}, 201)

    return [
        Route("/v1/health", answering(allow(NOBODY, health)), methods=["GET"]),
        Route("/v1/status", answering(allow("viewer", status, ITS_GROUPS)), methods=["GET"]),
        Route("/v1/policies", answering(allow("admin", policies)), methods=["POST"]),
        Route("/v1/policies/latest", answering(allow("admin", policies_latest)), methods=["GET"]),
        Route("/v1/marks", answering(allow("operator", marks, ITS_GROUPS)), methods=["POST"]),
        Route("/v1/marks/{id}", answering(allow("operator", mark, ITS_GROUPS)), methods=["GET"]),
        Route("/v1/audit", answering(allow(LOCAL, audit)), methods=["POST"]),
    ]
