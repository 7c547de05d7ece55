"""What the command line asks of a node: health, status, policies, marks, audit."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from engine.journal import control
from engine.model.errors import NothingThere, Refused
from engine.model.times import format_time
from engine.node import fields
from engine.node.applied import read_applied
from engine.node.parts import Parts
from engine.node.status import source_status
from engine.node.web import Answer, answering, read_json

POLICIES_BYTES_MAX = 64 << 20
AUDIT_BYTES_MAX = 1 << 20


def routes(parts: Parts, version: str) -> list[Route]:
    """The control routes, each bound to the node's parts."""

    async def health(request: Request) -> Response:
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
        return Answer(site_status(parts))

    async def policies(request: Request) -> Response:
        applied = read_applied(await read_json(request, parts.bodies, POLICIES_BYTES_MAX))
        base = applied.pop("base")
        applied["applied_at"] = format_time(parts.clock.now())
        try:
            number = await asyncio.to_thread(control.follow, parts.journal.store, control.POLICIES, base, applied)
        except Refused as error:
            return Answer(error.as_json(), 409)
        await parts.desired.replace({**applied, "number": number})
        details = {
            "number": number,
            "commit": applied["commit"],
            "dirty": applied["dirty"],
            "sources": sorted(applied["sources"]),
        }
        await asyncio.to_thread(parts.audit.act, "apply", applied["by"], details)
        return Answer({"number": number}, 201)

    async def marks(request: Request) -> Response:
        body = await read_json(request, parts.bodies)
        group, label = fields.text(body, "group", chars_max=200), fields.label(body, "label")
        asked = await parts.desired.ask_marks(group, label)
        if not asked:
            raise NothingThere(f"no group '{group}' is protected", hint="`bcsctl status` lists the groups")
        return Answer({"marks": [{"id": mark.id, "address": mark.address} for mark in asked]}, 201)

    async def mark(request: Request) -> Response:
        found = parts.desired.marks.get(request.path_params["id"])
        if found is None:
            raise NothingThere("this mark was not asked for since the node started")
        return Answer({"id": found.id, "address": found.address, "label": found.label, "done": found.done})

    async def audit(request: Request) -> Response:
        body = await read_json(request, parts.bodies, AUDIT_BYTES_MAX)
        what, who = fields.label(body, "what"), fields.text(body, "who", "", chars_max=1_000)
        await asyncio.to_thread(parts.audit.act, what, who, fields.mapping(body, "details", {}))
        return Answer({}, 201)

    return [
        Route("/v1/health", answering(health), methods=["GET"]),
        Route("/v1/status", answering(status), methods=["GET"]),
        Route("/v1/policies", answering(policies), methods=["POST"]),
        Route("/v1/marks", answering(marks), methods=["POST"]),
        Route("/v1/marks/{id}", answering(mark), methods=["GET"]),
        Route("/v1/audit", answering(audit), methods=["POST"]),
    ]


def site_status(parts: Parts) -> dict[str, object]:
    """Every source of the applied policies on its three axes, by group."""
    now = parts.clock.now()
    groups: dict[str, list[dict[str, object]]] = {}
    for address, source in sorted(parts.desired.sources.items()):
        stream = source["stream"]
        row = source_status(
            address,
            source,
            parts.reports.get(stream),
            parts.facts.stored(stream, now),
            parts.desired.sources_generation,
            now,
        )
        groups.setdefault(address.split("/")[0], []).append(row)
    return {
        "at": format_time(now),
        "node": parts.name,
        "policies": parts.desired.number,
        "groups": [{"name": name, "sources": rows} for name, rows in groups.items()],
    }
