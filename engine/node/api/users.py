"""What users ask of a node about themselves: who am I, a sign-in; and what admins ask about tokens."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from engine.model.policy.access import ROLES
from engine.model.times import SECOND
from engine.node.api import fields
from engine.node.api.web import Answer, answering, read_json
from engine.node.callers.access import KNOWN, allow, caller_of, rights_in, who, with_origin
from engine.node.callers.often import Often
from engine.node.parts import Parts

SECONDS_MAX = 10 * 366 * 86_400
SIGN_INS_A_MINUTE = 20
_NAME_CHARS = 255


def routes(parts: Parts) -> list[Route]:
    """The routes, bound to the node's parts."""
    site = parts.settings.site
    often = Often(SIGN_INS_A_MINUTE, parts.clock)

    async def whoami(request: Request) -> Response:
        return Answer(about(request, site))

    async def sign_in(request: Request) -> Response:
        often.once_more(who(request))
        await asyncio.to_thread(parts.audit.act, "sign-in", who(request), with_origin(request, {}))
        return Answer({**about(request, site), "urls": list(parts.settings.urls)}, 201)

    async def listed(request: Request) -> Response:
        found = await asyncio.to_thread(parts.users.all)
        return Answer({"tokens": [token.as_json(parts.clock.now()) for token in found]})

    async def create(request: Request) -> Response:
        body = await read_json(request, parts.bodies)
        name = fields.text(body, "name", chars_max=_NAME_CHARS)
        user = fields.text(body, "user", "", chars_max=_NAME_CHARS)
        seconds = fields.whole(body, "seconds", 0, high=SECONDS_MAX)
        ends = parts.clock.now() + seconds * SECOND if seconds else 0
        token, text = await asyncio.to_thread(parts.users.create, name, user, ends, who(request))
        shown = token.as_json(parts.clock.now())
        await asyncio.to_thread(parts.audit.act, "token-create", who(request), with_origin(request, shown))
        return Answer({**shown, "token": text}, 201)

    async def revoke(request: Request) -> Response:
        body = await read_json(request, parts.bodies)
        which = fields.text(body, "which", chars_max=_NAME_CHARS)
        ended = await asyncio.to_thread(parts.users.revoke, which, who(request))
        shown = [token.as_json(parts.clock.now()) for token in ended]
        for token in shown:
            await asyncio.to_thread(parts.audit.act, "token-revoke", who(request), with_origin(request, token))
        return Answer({"revoked": shown})

    return [
        Route("/v1/whoami", answering(allow(KNOWN, whoami)), methods=["GET"]),
        Route("/v1/sign-in", answering(allow(KNOWN, sign_in)), methods=["POST"]),
        Route("/v1/tokens", answering(allow("admin", listed)), methods=["GET"]),
        Route("/v1/tokens", answering(allow("admin", create)), methods=["POST"]),
        Route("/v1/tokens/revoke", answering(allow("admin", revoke)), methods=["POST"]),
    ]


def about(request: Request, site: str) -> dict[str, Any]:
    """Who asks, and what they may do: for each role that they have somewhere, the globs of its groups."""
    caller = caller_of(request)
    rights = rights_in(request)
    groups = {role: list(rights.sight(role).globs or ()) for role in ROLES if rights.may_somewhere(role)}
    return {
        "kind": caller.kind,
        "name": caller.name or caller.host,
        "token": caller.token or None,
        "site": site,
        "roles": list(groups),
        "groups": sorted({glob for globs in groups.values() for glob in globs}),
        "groups_by_role": groups,
    }
