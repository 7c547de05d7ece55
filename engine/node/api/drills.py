"""Drills on hosts over the network: asked for on the node's own socket, made by one host's agent.

What a host is sent are sources of one group as of one point each, and the commands of that group's applied policy: no
other command gets through here, whoever asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from engine.journal import control
from engine.model.errors import NotAuthorised, Refused, UsageError
from engine.model.policy.drills import CANCEL, COMMAND, FILL, VERIFY, Check
from engine.model.times import SECOND
from engine.node.api import fields
from engine.node.api.supply import range_asked
from engine.node.api.web import Answer, answering, read_json
from engine.node.callers.access import AGENT, LOCAL, allow, caller_of, who
from engine.node.desired import bounded
from engine.node.parts import Parts
from engine.node.rehearsals import Part, Rehearsal, how_of, new_id, scratch_path, work_out
from engine.plan.drills import group_in
from engine.recovery.drill.host_word import CANCELLED, DONE, FAILED, OPEN
from engine.recovery.drill.vouched import vouched
from engine.recovery.on_demand.supplying import Supplied
from engine.recovery.sending import Sending

LIVING_WITHIN = 15 * SECOND
WAIT_SECONDS_MAX = 20.0
SOURCES_MAX = 10_000
CHECKS_MAX = 200
AFTERWARDS = (CANCEL, FILL, VERIFY)
_T = TypeVar("_T")


def routes(parts: Parts) -> list[Route]:
    """The routes of drills on hosts, bound to the node's parts."""
    rehearsals = parts.rehearsals

    async def create(request: Request) -> Response:
        body = await read_json(request, parts.bodies)
        rehearsal = await asyncio.to_thread(_asked, parts, body)
        _refuse_without_agent(parts, rehearsal.host)
        await rehearsals.open(rehearsal)
        await parts.desired.news()
        return Answer(rehearsal.as_json(), 201)

    async def look(request: Request) -> Response:
        rehearsal = rehearsals.find(request.path_params["id"])
        try:
            version = int(request.query_params.get("version", "-1"))
            seconds = bounded(float(request.query_params.get("wait", "0")), WAIT_SECONDS_MAX)
        except ValueError:
            raise UsageError("version and wait are numbers") from None
        rehearsal.asked_at = parts.clock.now()
        await rehearsals.wait(rehearsal, version, seconds)
        rehearsal.asked_at = parts.clock.now()
        return Answer(rehearsal.as_json())

    async def cancel(request: Request) -> Response:
        rehearsal = rehearsals.find(request.path_params["id"])
        await rehearsals.end(rehearsal, CANCELLED, {"message": f"{who(request)} called it off"})
        await parts.desired.news()
        return Answer(rehearsal.as_json())

    async def plan(request: Request) -> Response:
        rehearsal, part = await _received(request)
        sending, stored = await _sending(request, rehearsal, part)
        told = {"fingerprint": sending.fingerprint.hex(), "steps": sending.steps}
        counts = {"files": len(sending.plan.files), "names": sending.plan.names, "bytes": sending.plan.bytes}
        return Answer({"id": part.id, **told, **counts, "stored_bytes": stored})

    async def batch(request: Request) -> Response:
        rehearsal, part = await _received(request)
        sending, _ = await _sending(request, rehearsal, part)
        number = str(request.path_params["number"])
        if not number.isascii() or not number.isdigit() or not 0 <= int(number[:9]) < len(sending):
            raise UsageError(f"'{number[:40]}' is no batch's number")
        if request.query_params.get("plan") != sending.fingerprint.hex():
            raise Refused("that is another plan")
        data = request.query_params.get("data", "1") != "0"
        loop = asyncio.get_running_loop()
        whole = await loop.run_in_executor(parts.restores.pool, lambda: b"".join(sending.batch(int(number), data=data)))
        return Response(whole, media_type="application/octet-stream")

    async def progress(request: Request) -> Response:
        body = await read_json(request, parts.bodies)
        rehearsal = await _of_host(request)
        now = parts.clock.now()
        if await rehearsals.forsake():
            await parts.desired.news()
        if rehearsal.state != OPEN:
            return Answer({"state": rehearsal.state})
        if "outcome" in body or "error" in body:
            state, answer = (DONE, "outcome") if "outcome" in body else (FAILED, "error")
            await rehearsals.heard(rehearsal, now)
            await rehearsals.end(rehearsal, state, fields.mapping(body, answer))
            await parts.desired.news()
        elif "usable" in body:
            usable = now if body["usable"] is True and not rehearsal.usable_at else rehearsal.usable_at
            await rehearsals.heard(rehearsal, now, usable_at=usable, phase="checking")
        elif "restored" in body:
            restored = now if body["restored"] is True and not rehearsal.restored_at else rehearsal.restored_at
            await rehearsals.heard(rehearsal, now, restored_at=restored, phase="checking")
        else:
            phase = fields.label(body, "phase", chars_max=20)
            counts = {name: fields.whole(body, name, getattr(rehearsal, name)) for name in ("files", "bytes")}
            await rehearsals.heard(rehearsal, now, phase=phase, **counts)
        return Answer({"state": OPEN if rehearsal.state == OPEN else rehearsal.state})

    async def data(request: Request) -> Response:
        file, offset, length = range_asked(request)
        whole = await _worked_out(await _cold(request), lambda supplied: supplied.range(file, offset, length))
        return Response(whole, media_type="application/octet-stream")

    async def heat(request: Request) -> Response:
        return Answer({"heat": await _worked_out(await _cold(request), lambda supplied: supplied.heat())})

    async def holes(request: Request) -> Response:
        return Answer({"holes": await _worked_out(await _cold(request), lambda supplied: supplied.holes())})

    async def ranges(request: Request) -> Response:
        return Answer({"ranges": await _worked_out(await _cold(request), lambda supplied: supplied.data())})

    async def _cold(request: Request) -> Part:
        """The source of a drill whose trees are used while they are cold."""
        rehearsal, part = await _received(request)
        if not rehearsal.how["on_demand"]:
            raise Refused(f"drill {rehearsal.id} does not fill on demand")
        return part

    async def _worked_out(part: Part, work: Callable[[Supplied], _T]) -> _T:
        supplies = parts.restores.supplies
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(supplies.pool, lambda: work(supplies.of(part)))

    async def _sending(request: Request, rehearsal: Rehearsal, part: Part) -> tuple[Sending, int]:
        """What is sent of a source, and what it takes on a disk: worked out once. Who makes a tree on demand asks for
        names alone (`contents=0`)."""
        contents = request.query_params.get("contents", "1") != "0"
        known = rehearsal.sendings.get((part.id, contents))
        if known is None:
            loop = asyncio.get_running_loop()
            known = asyncio.ensure_future(
                loop.run_in_executor(parts.restores.pool, lambda: work_out(parts.journal, part, contents=contents))
            )
            rehearsal.sendings[part.id, contents] = known
        try:
            return await asyncio.shield(known)
        except Exception:
            rehearsal.sendings.pop((part.id, contents), None)
            raise

    async def _of_host(request: Request) -> Rehearsal:
        """The drill, for its own host alone."""
        rehearsal = rehearsals.find(request.path_params["id"])
        caller, named = caller_of(request), request.query_params.get("host")
        mine = caller.kind == "local" or (caller.kind == "agent" and caller.host == rehearsal.host)
        if named != rehearsal.host or not mine:
            raise NotAuthorised(f"drill {rehearsal.id} is not for {who(request)[:100]}: it is for {rehearsal.host}")
        if not await rehearsals.by(rehearsal, request.query_params.get("run", "")[:40]):
            await parts.desired.news()
        return rehearsal

    async def _received(request: Request) -> tuple[Rehearsal, Part]:
        rehearsal = await _of_host(request)
        if rehearsal.state != OPEN:
            raise Refused(f"drill {rehearsal.id} is over", details={"state": rehearsal.state})
        for part in rehearsal.parts:
            if part.id == request.path_params["source"]:
                return rehearsal, part
        raise UsageError("the drill has no such source")

    return [
        Route("/v1/drills", answering(allow(LOCAL, create)), methods=["POST"]),
        Route("/v1/drills/{id}", answering(allow(LOCAL, look)), methods=["GET"]),
        Route("/v1/drills/{id}/cancel", answering(allow(LOCAL, cancel)), methods=["POST"]),
        Route("/v1/drills/{id}/sources/{source}/plan", answering(allow(AGENT, plan)), methods=["GET"]),
        Route("/v1/drills/{id}/sources/{source}/batches/{number}", answering(allow(AGENT, batch)), methods=["GET"]),
        *(
            Route(f"/v1/drills/{{id}}/sources/{{source}}/{name}", answering(allow(AGENT, given)), methods=["GET"])
            for name, given in (("data", data), ("heat", heat), ("holes", holes), ("ranges", ranges))
        ),
        Route("/v1/drills/{id}/progress", answering(allow(AGENT, progress)), methods=["POST"]),
    ]


def _asked(parts: Parts, body: Mapping[str, Any]) -> Rehearsal:
    """What is asked for, against the policies that hold. Refused for another policy than the one that was read, and
    for a command that is none of it."""
    group, host = fields.label(body, "group", chars_max=200), fields.label(body, "host", chars_max=253)
    policy = group_in(control.latest(parts.journal.store, control.POLICIES) or {}, group)
    if policy is None or policy.digest != fields.text(body, "digest"):
        raise Refused(f"the policy of '{group}' is another one by now", hint="make the drill under that one")
    checks = [_check(each) for each in _listed(body, "checks", CHECKS_MAX)]
    commands = [check for check in checks if check.name == COMMAND]
    declared = {check for drill in policy.drills for check in drill.checks}
    if commands and not (set(commands) <= declared and vouched(parts.journal, policy)):
        raise Refused("a host runs commands of the applied policy alone", hint="put the command into `drills`, apply")
    listed = [_part(each) for each in _listed(body, "parts", SOURCES_MAX)]
    known = {address: source["stream"] for address, source in policy.sources.items()}
    if not listed or any(known.get(part.address) != part.stream for part in listed):
        raise Refused(f"those are no sources of '{group}'")
    scratch = scratch_path(fields.text(body, "scratch", ""))
    if scratch and scratch not in {drill.scratch for drill in policy.drills}:
        raise Refused(f"{scratch[:200]} is no directory of the policy")
    now = parts.clock.now()
    on_demand = fields.text(body, "on_demand", "", chars_max=20)
    if on_demand and on_demand not in AFTERWARDS:
        raise UsageError(f"'{on_demand}' is nothing that becomes of trees", hint=f"say one of {', '.join(AFTERWARDS)}")
    how = how_of(group, fields.text(body, "at"), scratch, listed, checks, on_demand)
    return Rehearsal(fields.label(body, "id", chars_max=40), group, host, how, tuple(listed), now, now)


def _listed(body: Mapping[str, Any], name: str, most: int) -> list[dict[str, Any]]:
    found = body.get(name)
    if not isinstance(found, list) or len(found) > most or not all(isinstance(each, dict) for each in found):
        raise UsageError(f"'{name}' is no list of at most {most} objects")
    return found


def _part(told: Mapping[str, Any]) -> Part:
    address, stream, position = (fields.text(told, name) for name in ("address", "stream", "position"))
    return Part(new_id(), address, stream, position, fields.whole(told, "at", 0), fields.text(told, "class", ""))


def _check(told: Mapping[str, Any]) -> Check:
    command = told.get("command") or ""
    return Check(
        fields.label(told, "name", chars_max=40),
        command if isinstance(command, str) else tuple(map(str, command)),
        fields.whole(told, "timeout"),
    )


def _refuse_without_agent(parts: Parts, host: str) -> None:
    agent = parts.agents.get(host)
    if agent is None or parts.clock.now() - agent.heard_at > LIVING_WITHIN:
        silent = "" if agent is None else " any more"
        raise Refused(
            f"no agent of host '{host}' is heard of{silent}, and only its own agent can make a drill there",
            hint="name the host under `agent.hosts` of its Site and run `bcsctl apply`; see `bcsctl status --hosts`",
        )
