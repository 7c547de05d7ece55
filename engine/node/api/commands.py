"""Commands over HTTP: who may run which, of which groups; their output streams back."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from engine.model.errors import Failed, NotAuthorised, UsageError
from engine.node.api import fields
from engine.node.api.web import answering, read_json
from engine.node.callers.access import ITS_GROUPS, allow, need_group, sight, who, with_origin
from engine.node.commands import (
    ALIVE_SECONDS,
    NEEDS,
    OF_THE_SITE,
    SECONDS_MAX,
    SECONDS_MAX_OF,
    Commands,
    Streamed,
    need_of,
    reads_content,
)
from engine.node.parts import Parts
from engine.plan.access import Sight

ARGUMENTS_MAX = 100
ARGUMENT_CHARS_MAX = 128 << 10
BODY_BYTES_MAX = 1 << 20
RECORDED_ARGUMENTS_MAX, RECORDED_CHARS_MAX = 8, 5_000
"""Who read what was in a file is kept. An address and a path of 4096 bytes are whole within these."""

# A name of the zone database, or a POSIX TZ string. TZ may also name a file, and must not.
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*|[A-Za-z<][A-Za-z0-9<>+:,.-]*")
_ZONE_CHARS = 100


def routes(parts: Parts) -> list[Route]:
    """The route, bound to the node's parts."""

    async def commands(request: Request) -> Response:
        body = await read_json(request, parts.bodies, BODY_BYTES_MAX)
        argv = fields.texts(body, "argv", count_max=ARGUMENTS_MAX, chars_max=ARGUMENT_CHARS_MAX)
        name = argv[0] if argv else ""
        if name not in NEEDS:
            raise UsageError(f"'{name[:80]}' can't be run on a node", hint=f"what can: {', '.join(sorted(NEEDS))}")
        seen = _sight(request, name, need_of(argv))
        task = {
            "argv": argv,
            "globs": None if seen.everything else list(seen.globs or ()),
            "caller": who(request),
            "colour": body.get("colour") is True,
            "columns": fields.whole(body, "columns", 100, low=20, high=1_000),
        }
        zone = read_zone(body)
        if parts.commands is None:
            raise Failed("this node runs no commands")
        seconds_max = SECONDS_MAX_OF.get(name, SECONDS_MAX)
        begun = _run(parts.commands, who(request), task, zone, seconds_max)
        # Waiting for a turn comes before the answer begins, so that it can still be an error.
        await anext(begun)
        if reads_content(argv):  # once its turn has come: who has none can't fill the audit
            try:
                told = [each[:RECORDED_CHARS_MAX] for each in argv[1 : 1 + RECORDED_ARGUMENTS_MAX]]
                details = with_origin(request, {"command": name, "argv": told})
                await asyncio.to_thread(parts.audit.act, "read", who(request), details)
            except BaseException:
                await begun.aclose()
                raise
        return Streamed(begun, seconds_max + ALIVE_SECONDS)

    return [Route("/v1/commands", answering(allow(("viewer", "operator"), commands, ITS_GROUPS)), methods=["POST"])]


def _sight(request: Request, name: str, need: str) -> Sight:
    """The groups that the command may look at with the role that it needs. NotAuthorised when there are none."""
    if name in OF_THE_SITE:
        need_group(request, need, None)
    seen = sight(request, need)
    if seen.globs is not None and not seen.globs:
        raise NotAuthorised(
            f"{who(request)} may not {name}: it needs the role {need}",
            hint="`bcsctl whoami` shows what you have",
        )
    return seen


async def _run(
    commands: Commands, user: str, task: Mapping[str, Any], zone: str, seconds_max: float
) -> AsyncGenerator[bytes, None]:
    """First nothing, once the command's turn has come; then its frames."""
    async with commands.turn(user):
        yield b""
        async with aclosing(commands.run(task, zone, seconds_max)) as frames:
            async for each in frames:
                yield each


def read_zone(body: Mapping[str, Any]) -> str:
    """The caller's time zone, as TZ has it; empty for none. UsageError for what is none."""
    zone = fields.text(body, "zone", "", chars_max=_ZONE_CHARS)
    if zone and not _ZONE.fullmatch(zone):
        raise UsageError(f"'{zone}' is no time zone", hint="a name like Europe/Berlin, or as POSIX has it: CET-1")
    return zone
