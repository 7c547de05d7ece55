"""Requests and answers: bodies read within limits, errors as the JSON object that clients know."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from engine.journal.commit import Conflict, OutOfOrder
from engine.model.errors import BcsError, Failed, NothingThere, Refused, UsageError
from engine.wire.errors import Malformed

JSON_BYTES_MAX = 8 << 20

STATUS_CODES: tuple[tuple[type[BcsError], int], ...] = (
    (OutOfOrder, 409),
    (Conflict, 422),
    (Malformed, 422),
    (UsageError, 400),
    (Refused, 403),
    (NothingThere, 404),
)
"""The first class that fits decides; anything else is 500."""


class TooLarge(Failed):
    code = "too-large"


async def read_body(request: Request, bytes_max: int) -> bytearray:
    """The whole body; TooLarge as soon as it goes past the limit, without reading on."""
    body = bytearray()
    async for chunk in request.stream():
        if len(body) + len(chunk) > bytes_max:
            raise TooLarge(f"a request of more than {bytes_max} bytes", hint="send less at a time")
        body += chunk
    return body


async def read_json(request: Request) -> dict[str, Any]:
    """The body as a JSON object."""
    body = await read_body(request, JSON_BYTES_MAX)
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the request is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise UsageError("the request is not a JSON object")
    return value


def error_response(error: BcsError) -> Response:
    if isinstance(error, TooLarge):
        status = 413
    else:
        status = next((code for kind, code in STATUS_CODES if isinstance(error, kind)), 500)
    return JSONResponse(error.as_json(), status)


def answering(route: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """The route with every error of ours as its JSON answer."""

    async def answer(request: Request) -> Response:
        try:
            return await route(request)
        except BcsError as error:
            return error_response(error)

    return answer
