"""The past over HTTP: streams, points, directories and files as of any moment. Thin over engine.query."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from engine.journal.open import seen_by
from engine.journal.seen import Seen, groups
from engine.model.errors import NothingThere, Refused, UsageError
from engine.model.points import Point, beside_json, parse_moment
from engine.model.policy.retention import Tiers
from engine.model.times import format_time
from engine.node.api.web import Answer, answering
from engine.node.callers.access import ITS_GROUPS, allow, caller_of, need_group, rights_in, sight, who, with_origin
from engine.node.parts import Parts
from engine.plan.retention import read_tiers
from engine.query import points, streams, tree
from engine.query.content import content
from engine.query.expiring import points_expiring
from engine.query.session import Session

POINTS_MAX = 10_000
_TOLD_CHARS = 5_000


def routes(parts: Parts) -> list[Route]:
    """The as-of routes; each opens a session of its own on a thread, so ingest never waits for one."""

    def asking(read: Callable[[Session, Request], Any]) -> Callable[[Request], Any]:
        async def route(request: Request) -> Response:
            return Answer(await _reading(parts, _in_session, parts, read, request))

        return answering(allow("viewer", route, ITS_GROUPS))

    def point(session: Session, request: Request) -> Point:
        moment = parse_moment(request.query_params.get("at", "latest"), parts.clock.now())
        return points.point_for(session, _stream(parts, request), moment, parts.clock.now())

    def list_streams(session: Session, request: Request) -> dict[str, Any]:
        found = streams.streams(seen_by(parts.journal, sight(request, "viewer")))
        return {
            "streams": [{"id": one.id, "address": str(address), "epoch": one.epoch} for address, one in found.items()]
        }

    def list_points(session: Session, request: Request) -> dict[str, Any]:
        stream = _stream(parts, request)
        found = points.points(session, stream, limit=POINTS_MAX)
        gaps = points.gaps(session, stream)
        return {
            "points": [
                {"point": str(one.position), "at": format_time(one.at), "class": one.point_class} for one in found
            ],
            "gaps": [
                {
                    "from": format_time(gap.from_at),
                    "to": format_time(gap.to_at) if gap.to_at else None,
                    "reason": gap.reason,
                }
                for gap in gaps
            ],
        }

    def ls(session: Session, request: Request) -> dict[str, Any]:
        recursive = request.query_params.get("recursive") == "true"
        if recursive and caller_of(request).kind != "local":
            # The whole tree would lie in the memory of the node, which agents wait for.
            raise Refused("a whole tree is not listed here", hint="`bcsctl ls --recursive` has a process of its own")
        at = point(session, request)
        path = _path(request, "/")
        found = tree.entries(session, _stream(parts, request), at.position, path, recursive)
        return {
            "point": str(at.position),
            "at": format_time(at.at),
            **beside_json(at.beside),
            "entries": [
                {
                    "path": entry.path.decode("utf-8", "surrogateescape"),
                    "type": entry.inode.type,
                    "size": entry.inode.size,
                    "mode": entry.inode.mode,
                    "mtime_ns": entry.inode.mtime_ns,
                }
                for entry in found
            ],
        }

    def expiring(session: Session, request: Request) -> dict[str, Any]:
        stream, tiers = _stream(parts, request), read_retention(request.query_params.get("tiers", ""))
        return {"points": points_expiring(session, stream, tiers, parts.clock.now())}

    async def cat(request: Request) -> Response:
        await asyncio.to_thread(_need_operator, parts, request)
        parts_of_file = _content(parts, request, point)
        # The first part is asked for here, so that what can't be found is an error and no broken answer.
        first = await _reading(parts, next, parts_of_file, b"")
        if caller_of(request).kind != "local":  # who may open the journal's files leaves no trace either
            named = {name: request.query_params[name] for name in ("path", "at") if name in request.query_params}
            told = {name: value[:_TOLD_CHARS] for name, value in named.items()}
            details = with_origin(request, {"stream": request.path_params["stream"], **told})
            await asyncio.to_thread(parts.audit.act, "read", who(request), details)
        return StreamingResponse(itertools.chain([first], parts_of_file))

    return [
        Route("/v1/streams", asking(list_streams)),
        Route("/v1/streams/{stream}/points", asking(list_points)),
        Route("/v1/streams/{stream}/expiring", asking(expiring)),
        Route("/v1/streams/{stream}/ls", asking(ls)),
        Route("/v1/streams/{stream}/cat", answering(allow("viewer", cat, ITS_GROUPS))),
    ]


def read_retention(text: str) -> Tiers:
    """The tiers that a query asks about, in the form that policies have. UsageError for anything else."""
    try:
        return read_tiers(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise UsageError(f"tiers '{text[:80]}' are no retention", hint='as [{"keep": "1h", "for": "30d"}]') from None


async def _reading(parts: Parts, read: Callable[..., Any], *arguments: Any) -> Any:
    """read(*arguments) on a reader's thread, where it goes on when nobody waits for it any more."""
    reading = parts.readers.submit(read, *arguments)
    parts.reads.add(reading)
    reading.add_done_callback(parts.reads.discard)
    return await asyncio.wrap_future(reading)


def _stream(parts: Parts, request: Request) -> str:
    """The stream asked for; NothingThere for one that this site has not, or that the caller may not know of."""
    stream: str = request.path_params["stream"]
    # In this order: what is there and not seen takes as long as what is not there.
    if not _seen(parts, request, stream) or stream not in parts.committer.streams():
        raise NothingThere(f"there is no stream {stream[:40]}", hint="/v1/streams lists them")
    return stream


def _seen(parts: Parts, request: Request, stream: str) -> bool:
    eyes = sight(request, "viewer")
    return eyes.everything or Seen(parts.journal.store, eyes).stream(stream)


def _need_operator(parts: Parts, request: Request) -> None:
    stream = _stream(parts, request)
    if not rights_in(request).may("operator"):
        need_group(request, "operator", groups(parts.journal.store)[stream])


def _path(request: Request, otherwise: str) -> bytes:
    """The path asked for, in the bytes that it has on its host."""
    query = parse_qs(request.scope["query_string"].decode("ascii", "replace"), errors="surrogateescape")
    path: str = query.get("path", [otherwise])[-1]
    return path.encode("utf-8", "surrogateescape")


def _in_session(parts: Parts, read: Callable[[Session, Request], Any], request: Request) -> Any:
    with Session(parts.journal) as session:
        return read(session, request)


def _content(parts: Parts, request: Request, point: Callable[[Session, Request], Point]) -> Iterator[bytes]:
    """A file's bytes as an iterator that reads as it goes."""
    path = _path(request, "")
    with Session(parts.journal) as session:
        stream = streams.info(parts.journal, _stream(parts, request))
        position = point(session, request).position
        _, found = content(session, parts.journal, stream, position, path)
    for part in found:
        yield bytes(part)
