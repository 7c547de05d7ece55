"""Requests and answers: JSON read strictly, errors as the JSON object that clients know, faults of ours as such too."""

from __future__ import annotations

import asyncio
import errno
import json
import math
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from engine.journal.commit import Conflict, NotCommitted, OutOfOrder
from engine.model.errors import BcsError, Failed, NothingThere, Refused, Unauthenticated, UsageError
from engine.node.api.bodies import Bodies, Busy, TooLarge, TooSlow, declared_bytes
from engine.node.log import log_failure
from engine.wire.errors import Malformed
from engine.wire.limits import BATCH_BYTES_MAX

JSON_BYTES_MAX = 8 << 20
JSON_DEPTH_MAX = 64
_IN_A_THREAD_FROM_BYTES = 64 << 10

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)

STATUS_CODES: tuple[tuple[type[BcsError], int], ...] = (
    (OutOfOrder, 409),
    (Conflict, 422),
    (Malformed, 422),
    (TooLarge, 413),
    (TooSlow, 408),
    (Busy, 503),
    (NotCommitted, 503),
    (UsageError, 400),
    (Unauthenticated, 401),
    (Refused, 403),
    (NothingThere, 404),
)
"""The first class that fits decides; anything else is 500. A full store is 507, see `error_response`."""

Endpoint = Callable[[Request], Awaitable[Response]]


class Answer(JSONResponse):
    """A JSON answer in ASCII: names that are not UTF-8 travel as lone surrogates, bytes as texts."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, allow_nan=False, separators=(",", ":"), default=_as_json).encode("ascii")


class NoSpace(Failed):
    """The store is full. Nothing was taken."""

    code = "no-space"


async def read_json(request: Request, bodies: Bodies, bytes_max: int = JSON_BYTES_MAX) -> dict[str, Any]:
    """The body as a JSON object without NaN or infinities, at most JSON_DEPTH_MAX deep."""
    async with bodies.whole(request, bytes_max) as body:
        if len(body) < _IN_A_THREAD_FROM_BYTES:
            return parse_object(body)
        return await asyncio.to_thread(parse_object, body)


def parse_object(content: bytes | bytearray) -> dict[str, Any]:
    """A JSON object; UsageError for anything else."""
    try:
        value = json.loads(content, parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the request is not JSON: {str(error)[:200]}") from None
    if not isinstance(value, dict):
        raise UsageError("the request is not a JSON object")
    _check_depth(value)
    return value


def error_response(error: BcsError) -> Response:
    if isinstance(error, NoSpace) or (isinstance(error, NotCommitted) and error.no_space):
        return Answer(error.as_json(), 507)
    return Answer(error.as_json(), next((code for kind, code in STATUS_CODES if isinstance(error, kind)), 500))


def answering(endpoint: Endpoint) -> Endpoint:
    """The endpoint with every error as its JSON answer. One that is no BcsError is a fault of ours: it goes to the
    log with its traceback, and the node goes on."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is there to read it
        except BcsError as error:
            response = error_response(error)
        except Exception as error:
            response = _fault(request, error)
        if _has_much_left(request):
            response.headers["connection"] = "close"
        return response

    answer.needs = getattr(endpoint, "needs", ())  # type: ignore[attr-defined]
    return answer


async def no_route(request: Request, error: Exception) -> Response:
    """What unknown paths and wrong methods are answered."""
    status = error.status_code if isinstance(error, HTTPException) else 404
    path = request.url.path[:200]
    told = UsageError(f"{path} is not for {request.method}" if status == 405 else f"this node has no {path}")
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    if _has_much_left(request):
        headers["connection"] = "close"
    return Answer(told.as_json(), status, headers)


def _fault(request: Request, error: Exception) -> Response:
    what = f"{request.method} {request.url.path[:200]}"
    if isinstance(error, OSError) and error.errno in NO_SPACE:
        return error_response(NoSpace("the journal's disk is full", hint="make room on it, then send it again"))
    log_failure(what, error)
    return Answer(Failed(f"{what} met a fault in the node", hint="the node's log has the details").as_json(), 500)


def _has_much_left(request: Request) -> bool:
    """Whether so much may follow of a request that was not read to its end that its connection is better closed.

    What is left of any other is read and dropped: a sender that is cut off in the middle would not see the answer.
    """
    if request.headers.get("transfer-encoding"):
        return not getattr(request, "_stream_consumed", False)
    return (declared_bytes(request) or 0) > BATCH_BYTES_MAX


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is too large a number")
    return value


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(JSON_DEPTH_MAX):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    raise UsageError(f"the request is nested more than {JSON_DEPTH_MAX} deep")


def _as_json(value: object) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "surrogateescape")
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    return str(value)
