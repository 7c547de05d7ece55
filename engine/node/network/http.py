"""HTTP over what a listener accepted: uvicorn's protocol, with who asks, and no patience for heads that never end.

uvicorn closes connections that idle between requests, but waits for ever for a request's head. Bodies have their own
patience (engine.node.api.bodies).
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import pwd
import socket
import struct
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from engine.node.callers.caller import NOBODY, Caller

HEAD_SECONDS = 10.0
"""From a connection's or a head's first byte to the head's last one."""
_QUIET = logging.getLogger("bcs.http")
_QUIET.setLevel(logging.ERROR)  # strangers may send what they like: it is recorded and limited elsewhere
_CREDENTIALS = struct.Struct("3i")  # struct ucred, unix(7)


class Http(H11Protocol):
    """One connection. `state` goes into each of its requests' `scope["state"]`."""

    def __init__(self, config: Config, server_state: ServerState, state: dict[str, Any]) -> None:
        super().__init__(config, server_state, state)
        self.logger = _QUIET
        self.on_garbage: Callable[[], None] | None = None
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._too_slow)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._end_timer()
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_timer()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        super().send_400_response(msg)
        if self.on_garbage is not None:
            self.on_garbage()

    @property
    def in_a_body(self) -> bool:
        """Whether more of a request is to come."""
        return self.conn.their_state is h11.SEND_BODY

    def _too_slow(self) -> None:
        self._head_timer = None
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.transport.close()

    def _end_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class UnixHttp(Http):
    """A connection to the node's own socket: its owner's and root's processes are local callers."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, {})

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.app_state = {"caller": _local(transport.get_extra_info("socket"))}
        super().connection_made(transport)


def _local(connected: socket.socket) -> Caller:
    _, uid, _ = _CREDENTIALS.unpack(connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return Caller("local", _user(uid), "") if uid in (0, os.getuid()) else NOBODY


@functools.lru_cache(maxsize=64)
def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
