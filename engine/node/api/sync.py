"""What the GitOps loop says of its rounds: kept for metrics and notifications, and in the audit stream when it matters.

The node applies nothing on a loop's word: it only passes on whether someone is keeping it in step with git, and how
that goes.
"""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from engine.model.errors import UsageError
from engine.model.times import parse_time
from engine.node.api import fields
from engine.node.api.web import Answer, answering, read_json
from engine.node.callers.access import allow, who, with_origin
from engine.node.parts import Parts
from engine.node.sync import STATES, Sync

RECORDED = ("applied", "healed", "failed")
_COMMIT_CHARS, _TEXT_CHARS = 64, 2_000


def routes(parts: Parts) -> list[Route]:
    """The loop's routes, bound to the node's parts."""

    async def tell(request: Request) -> Response:
        body = await read_json(request, parts.bodies)
        state = fields.text(body, "state", chars_max=20)
        if state not in STATES:
            raise UsageError(f"'{state}' is no state of a round", hint=f"it is one of {', '.join(STATES)}")
        before, now = parts.sync, parts.clock.now()
        since = fields.text(body, "failing_since", "", chars_max=40) if body.get("failing_since") else ""
        parts.sync = Sync(
            now,
            state,
            fields.text(body, "commit", "", chars_max=_COMMIT_CHARS),
            fields.text(body, "message", "", chars_max=_TEXT_CHARS),
            parse_time(since, now) if since else None,
            (before.rounds if before else 0) + 1,
            (before.drift if before else 0) + (state == "healed"),
            (before.failures if before else 0) + (state == "failed"),
        )
        if state in RECORDED and (before is None or (before.state, before.message) != (state, parts.sync.message)):
            details = {"state": state, "commit": parts.sync.commit, "message": parts.sync.message}
            await asyncio.to_thread(parts.audit.act, "sync", f"gitops, {who(request)}", with_origin(request, details))
        return Answer(parts.sync.as_json(), 201)

    async def last(request: Request) -> Response:
        return Answer({"sync": parts.sync.as_json() if parts.sync else None})

    return [
        Route("/v1/sync", answering(allow("admin", tell)), methods=["POST"]),
        Route("/v1/sync", answering(allow("viewer", last)), methods=["GET"]),
    ]
