"""What the command line asks of a node: health, status, policies, marks, audit."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from engine.journal import control
from engine.model.errors import NothingThere, Refused, UsageError
from engine.model.times import format_time
from engine.node.parts import Parts
from engine.node.status import source_status
from engine.node.web import answering, read_json


def routes(parts: Parts, version: str) -> list[Route]:
    """The control routes, each bound to the node's parts."""

    async def health(request: Request) -> Response:
        return JSONResponse(
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
        return JSONResponse(site_status(parts))

    async def policies(request: Request) -> Response:
        body = await read_json(request)
        for field, kind in (("base", int), ("documents", dict), ("sources", dict)):
            if not isinstance(body.get(field), kind):
                raise UsageError(f"an applied policy needs '{field}'")
        value = {key: body.get(key) for key in ("by", "commit", "dirty", "documents", "sources")}
        value["applied_at"] = format_time(parts.clock.now())
        try:
            number = await asyncio.to_thread(control.follow, parts.journal.store, control.POLICIES, body["base"], value)
        except Refused as error:
            return JSONResponse(error.as_json(), 409)
        await parts.desired.replace({**value, "number": number})
        details = {key: value[key] for key in ("commit", "dirty")} | {
            "number": number,
            "sources": sorted(body["sources"]),
        }
        await asyncio.to_thread(parts.audit.act, "apply", str(body.get("by", "")), details)
        return JSONResponse({"number": number}, 201)

    async def marks(request: Request) -> Response:
        body = await read_json(request)
        group, label = str(body.get("group", "")), str(body.get("label", ""))
        asked = await parts.desired.ask_marks(group, label)
        if not asked:
            raise NothingThere(f"no group '{group}' is protected", hint="`bcsctl status` lists the groups")
        return JSONResponse({"marks": [{"id": mark.id, "address": mark.address} for mark in asked]}, 201)

    async def mark(request: Request) -> Response:
        found = parts.desired.marks.get(request.path_params["id"])
        if found is None:
            raise NothingThere("this mark was not asked for since the node started")
        return JSONResponse({"id": found.id, "address": found.address, "label": found.label, "done": found.done})

    async def audit(request: Request) -> Response:
        body = await read_json(request)
        details = body.get("details", {})
        if not body.get("what") or not isinstance(details, dict):
            raise UsageError("an audit record needs 'what' and 'details'")
        await asyncio.to_thread(parts.audit.act, str(body["what"]), str(body.get("who", "")), details)
        return JSONResponse({}, 201)

    return [
        Route("/v1/health", answering(health)),
        Route("/v1/status", answering(status)),
        Route("/v1/policies", answering(policies), methods=["POST"]),
        Route("/v1/marks", answering(marks), methods=["POST"]),
        Route("/v1/marks/{id}", answering(mark)),
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
            parts.desired.generation,
            now,
        )
        groups.setdefault(address.split("/")[0], []).append(row)
    return {
        "at": format_time(now),
        "node": parts.name,
        "policies": parts.desired.number,
        "groups": [{"name": name, "sources": rows} for name, rows in groups.items()],
    }
