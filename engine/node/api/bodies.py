"""Bodies of requests, read within limits: of size each, of memory together, of patience with those who stall.

Until a body is whole nothing has been taken, so a reader may be sent home at any time: a stop waits for none.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from starlette.requests import Request

from engine.model.errors import Failed, Refused

IDLE_SECONDS = 30.0
"""A sender that is silent for so long in the middle of a body has lost its turn."""

HELD_BYTES_MAX = 256 << 20
"""What all requests together may hold; beyond it senders are asked to come again."""

BYTES_A_SECOND_MIN = 4096
"""Beyond IDLE_SECONDS a body must have come at this rate on the average: drops hold no memory for long."""


class TooLarge(Refused):
    code = "too-large"


class TooSlow(Failed):
    code = "too-slow"


class Busy(Failed):
    """Nothing was taken; sending it again is safe."""

    code = "busy"


@dataclass(slots=True)
class Bodies:
    """All bodies that are being read or worked on. Lives on the event loop."""

    idle_seconds: float = IDLE_SECONDS
    held_bytes_max: int = HELD_BYTES_MAX
    bytes_a_second_min: float = BYTES_A_SECOND_MIN
    held_bytes: int = 0
    _held_by: Counter[str] = field(default_factory=Counter)
    _waiting: set[asyncio.Timeout] = field(default_factory=set)
    _stopping: bool = False

    @asynccontextmanager
    async def whole(self, request: Request, bytes_max: int) -> AsyncIterator[bytearray]:
        """The body, which counts as held until the end of the block.

        Raises TooLarge without reading on, TooSlow, and Busy when too much is held already or the node stops.
        """
        declared = declared_bytes(request) or 0
        if declared > bytes_max:
            raise too_large(bytes_max)
        if self._stopping:
            raise stopping()
        by = _sender(request)
        if self.held_bytes:  # one alone is always let in
            self._check_room(declared, by)
        body = bytearray()
        try:
            await self._read(request, body, bytes_max, by)
            yield body
        finally:
            self.held_bytes -= len(body)
            self._held_by[by] -= len(body)
            if not self._held_by[by]:
                del self._held_by[by]

    async def _read(self, request: Request, body: bytearray, bytes_max: int, by: str) -> None:
        loop = asyncio.get_running_loop()
        latest = loop.time() + self.idle_seconds
        try:
            async with asyncio.timeout(self.idle_seconds) as patience:
                self._waiting.add(patience)
                try:
                    async for chunk in request.stream():
                        if len(body) + len(chunk) > bytes_max:
                            raise too_large(bytes_max)
                        if self.held_bytes > len(body):
                            self._check_room(len(chunk), by)
                        body += chunk
                        self.held_bytes += len(chunk)
                        self._held_by[by] += len(chunk)
                        patience.reschedule(
                            min(loop.time() + self.idle_seconds, latest + len(body) / self.bytes_a_second_min)
                        )
                finally:
                    self._waiting.discard(patience)
        except TimeoutError:
            if self._stopping:
                raise stopping() from None
            raise TooSlow(
                f"the request came too slowly: {len(body)} bytes, and no more for a while",
                hint="send it again",
            ) from None

    def stop(self) -> None:
        """Send home those whose bodies are not whole, and from now on all who come."""
        self._stopping = True
        for patience in self._waiting:
            if not patience.expired():
                patience.reschedule(0)

    def _check_room(self, count: int, by: str) -> None:
        if self.held_bytes + count > self.held_bytes_max:
            raise Busy(f"the node is working on {self.held_bytes} bytes of requests", hint="send it again in a moment")
        if by and self._held_by[by] + count > self.held_bytes_max // 2:
            held = self._held_by[by]
            raise Busy(f"the node is working on {held} bytes of requests of {by}", hint="send it again in a moment")


def _sender(request: Request) -> str:
    """Whom what a request holds counts for, so that nobody takes the room of all; empty for a local caller."""
    caller = request.scope.get("caller")
    if caller is None or caller.kind == "local":
        return ""
    return f"{caller.kind} {caller.name or caller.address.rpartition(':')[0]}"


def declared_bytes(request: Request) -> int | None:
    """The length that a request declares; None when it does not, as with chunked bodies."""
    declared = request.headers.get("content-length", "")
    return int(declared) if declared.isascii() and declared.isdigit() and len(declared) <= 19 else None


def too_large(bytes_max: int) -> TooLarge:
    return TooLarge(f"the request is larger than {bytes_max} bytes", hint="send less at a time")


def stopping() -> Busy:
    return Busy("the node is stopping", hint="send it again once it is back")
