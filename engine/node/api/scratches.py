"""Scratch on hosts: what is there, and what is to become of it. The host's own agent compares, promotes, discards.

A host's word is taken for what it has, and the sealed grant's for what that is: which group's, as of which point.
No command travels: who is root on a host looks at the tree there.
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from engine.model.errors import BcsError, NothingThere, UsageError
from engine.model.ids import parse_address
from engine.model.times import format_time
from engine.node.api import fields
from engine.node.api.begun_and_ended import opened
from engine.node.api.restores import by_whom, refuse_unless_possible
from engine.node.api.web import Answer, answering, read_json
from engine.node.callers.access import ITS_GROUPS, allow, caller_of, need_group, sight, with_origin
from engine.node.parts import Parts
from engine.recovery import granting
from engine.recovery.granting import Grant
from engine.wire.errands import CHECK, DISCARD, OF_SCRATCH, PROMOTE, SCRATCH

_ROLES = {CHECK: "operator", DISCARD: "operator", PROMOTE: "recoverer"}
_PATH_CHARS = 4096


def routes(parts: Parts) -> list[Route]:
    """The routes, bound to the node's parts."""

    async def listed(request: Request) -> Response:
        seen = sight(request, "viewer").sees
        rows = [row for row, grant in await _known(parts) if seen(_group(grant))]
        return Answer({"scratches": rows})

    async def act(request: Request) -> Response:
        way = str(request.path_params["way"])
        if way not in OF_SCRATCH:
            raise UsageError(f"'{way[:40]}' is nothing that is done with scratch", hint=f"say {', '.join(OF_SCRATCH)}")
        role, id = _ROLES[way], str(request.path_params["id"])
        body = await read_json(request, parts.bodies)
        seen = sight(request, "viewer").sees
        known = [(row, grant) for row, grant in await _known(parts) if seen(_group(grant))]
        row, made = _named(known, id)
        called = parts.desired.address(made.stream) or made.address
        for name in {_group(made), called.split("/")[0]}:
            need_group(request, role, name)
        how: dict[str, Any] = {"scratch": row["id"]}
        how |= {name: True for name in ("aside", "changed", "into_protected") if body.get(name) is True}
        if to := fields.text(body, "to", "", chars_max=_PATH_CHARS):
            if not to.startswith("/") or "\0" in to:
                raise UsageError(f"'{to[:200]}' is not an absolute path", hint="write --to /the/whole/path")
            how["to"] = to
        refuse_unless_possible(parts, made.host)
        caller = caller_of(request)
        origin = str(with_origin(request, {})["from"])
        grant = Grant(
            granting.new_id(), made.address, made.stream, made.position, made.point_at, made.point_class, made.path,
            made.base, made.host, to or row["tree"], False, by_whom(request, body), origin, parts.clock.now(),
            [caller.kind, caller.name, caller.token], way=way, how=how,
        )  # fmt: skip
        restore = await opened(parts, request, grant, None, {})
        plan = {"bytes": int(row["bytes"]), "files": int(row["files"])}
        return Answer({**row, "id": grant.id, "version": restore.version, "plan": plan}, 201)

    return [
        Route("/v1/scratches", answering(allow("viewer", listed, ITS_GROUPS)), methods=["GET"]),
        Route("/v1/scratches/{id}/{way}", answering(allow("operator", act, ITS_GROUPS)), methods=["POST"]),
    ]


async def _known(parts: Parts) -> list[tuple[dict[str, Any], Grant]]:
    """What hosts say that they have, of restores that this site has granted to them."""
    found = []
    for host, agent in list(parts.agents.items()):
        for row in agent.scratches:
            try:
                grant = (await parts.restores.find(row["restore"])).grant
            except BcsError:
                continue
            if grant.host == host and grant.way == SCRATCH:
                point = {"point": grant.position, "at": format_time(grant.point_at), "class": grant.point_class}
                found.append(({**row, "host": host, "address": grant.address, "by": grant.by, **point}, grant))
    return found


def _named(known: list[tuple[dict[str, Any], Grant]], id: str) -> tuple[dict[str, Any], Grant]:
    named = [(row, grant) for row, grant in known if id and row["id"].startswith(id)]
    if len(named) != 1:
        raise NothingThere(
            f"no host has '{id[:40]}' in scratch" if not named else f"'{id[:40]}' is the beginning of several",
            hint="`bcsctl restore list` shows what there is",
        )
    return named[0]


def _group(grant: Grant) -> str:
    return parse_address(grant.address).group
