"""Bodies of requests, read within limits: of size each, of memory together, of patience with those who stall.

Until a body is whole nothing has been taken, so a reader may be sent home at any time: a stop waits for none.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from starlette.requests import Request

from engine.model.errors import Failed, Refused

IDLE_SECONDS = 30.0
"""A sender that is silent for so long in the middle of a body has lost its turn."""

HELD_BYTES_MAX = 256 << 20
"""What all requests together may hold; beyond it senders are asked to come again."""


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
    held_bytes: int = 0
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
        if self.held_bytes:  # one alone is always let in
            self._check_room(declared)
        body = bytearray()
        try:
            await self._read(request, body, bytes_max)
            yield body
        finally:
            self.held_bytes -= len(body)

    async def _read(self, request: Request, body: bytearray, bytes_max: int) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.idle_seconds) as patience:
                self._waiting.add(patience)
                try:
                    async for chunk in request.stream():
                        if len(body) + len(chunk) > bytes_max:
                            raise too_large(bytes_max)
                        if self.held_bytes > len(body):
                            self._check_room(len(chunk))
                        body += chunk
                        self.held_bytes += len(chunk)
                        patience.reschedule(loop.time() + self.idle_seconds)
                finally:
                    self._waiting.discard(patience)
        except TimeoutError:
            if self._stopping:
                raise stopping() from None
            raise TooSlow(
                f"no byte of the request came for {self.idle_seconds:g} s after the first {len(body)}",
                hint="send it again",
            ) from None

    def stop(self) -> None:
        """Send home those whose bodies are not whole, and from now on all who come."""
        self._stopping = True
        for patience in self._waiting:
            if not patience.expired():
                patience.reschedule(0)

    def _check_room(self, count: int) -> None:
        if self.held_bytes + count > self.held_bytes_max:
            raise Busy(f"the node is working on {self.held_bytes} bytes of requests", hint="send it again in a moment")


def declared_bytes(request: Request) -> int | None:
    """The length that a request declares; None when it does not, as with chunked bodies."""
    declared = request.headers.get("content-length", "")
    return int(declared) if declared.isascii() and declared.isdigit() and len(declared) <= 19 else None


def too_large(bytes_max: int) -> TooLarge:
    return TooLarge(f"the request is larger than {bytes_max} bytes", hint="send less at a time")


def stopping() -> Busy:
    return Busy("the node is stopping", hint="send it again once it is back")
