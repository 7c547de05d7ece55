"""What an agent asks of a node, and the same over HTTP.

A call either has an answer or raises: Unreachable when nobody knows whether it was done, OutOfOrder when the node is
elsewhere in the stream, another BcsError when it refused. Every call may be repeated: a batch that the node has
already is answered as a duplicate.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, RemoteDisconnected
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from engine.agent.host.where import Local, Where
from engine.agent.ship.pace import UNBOUND, Pace, Slower
from engine.env.endpoint import Endpoint, OneSend, TlsEndpoint, as_error, connect, not_answered
from engine.model.errors import BcsError, Failed, Refused, Unreachable
from engine.wire.batch import NO_HASH

ANSWER_SECONDS = 60.0
ONE_BUFFER_BYTES = 64 << 10
NO_CONTENT = 204

Body = Mapping[str, Any] | Sequence[bytes] | None


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a stream as a node has it: `lsn` 0 and NO_HASH before the first event.

    `through_at` says until when it is complete, site time, 0 when the node doesn't tell.
    """

    epoch: int
    lsn: int
    hash: bytes
    cause: str = ""
    through_at: int = 0
    batch_version: int = 1
    """The newest form of batches that the node reads."""
    recovery: str = ""
    """The recovery on demand whose tree this is the beginning of, by its id."""


class CopyRefused(Failed):
    """The node does not have what a batch refers to: it is to be looked at again, and sent."""

    code = "copy-refused"


class OutOfOrder(Failed):
    """The node expects another batch; `head` is what it has."""

    code = "out-of-order"

    def __init__(self, head: Head) -> None:
        super().__init__(f"the node has this stream up to {head.epoch}.{head.lsn}")
        self.head = head


class Node(Protocol):
    """A node, as an agent sees it. One thread uses one of these at a time."""

    def hello(self, host: str, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Introduce the agent: {time, generation}."""
        ...

    def desired(self, host: str, generation: int, wait_seconds: float) -> dict[str, Any]:
        """What to protect: {generation, time, sources, marks}; waits as long as `generation` is the newest."""
        ...

    def open_stream(self, stream: str, host: str, writer: str, record: Mapping[str, Any] | None) -> Head:
        """Where to go on in a stream, given where the agent's record is."""
        ...

    def send(self, stream: str, host: str, buffers: Sequence[bytes], left: Callable[[], None] = lambda: None) -> None:
        """Hand over a batch; returns once it is durable. `left` is called when all of it is on its way."""
        ...

    def status(self, host: str, report: Mapping[str, Any]) -> dict[str, Any]:
        """Report: {time, generation}."""
        ...

    def close(self) -> None: ...


class HttpNode:
    """A site's node over HTTP; a path is that of its Unix socket. Connects when it is first needed, and again after
    every failure and when the host has a new certificate."""

    def __init__(
        self, where: Where | Path, *, answer_seconds: float = ANSWER_SECONDS, pace: Pace | Slower = UNBOUND
    ) -> None:
        """`pace` bounds what batches take of the line, for all clients that share it."""
        self._where: Where = Local(where) if isinstance(where, Path) else where
        self._endpoint: Endpoint | str = "its socket"
        self._answer_seconds, self._pace = answer_seconds, pace
        self._connection: HTTPConnection | None = None
        self._left: Callable[[], None] = _nothing

    def hello(self, host: str, facts: Mapping[str, Any]) -> dict[str, Any]:
        return self._json("POST", f"/v1/agents/{quote(host)}/hello", facts)

    def desired(self, host: str, generation: int, wait_seconds: float) -> dict[str, Any]:
        return self._json("GET", f"/v1/agents/{quote(host)}/desired?generation={generation}&wait={wait_seconds:g}")

    def open_stream(self, stream: str, host: str, writer: str, record: Mapping[str, Any] | None) -> Head:
        asked = {"host": host, "writer": writer, "record": record}
        return read_head(self._json("POST", f"/v1/streams/{stream}/open", asked))

    def send(self, stream: str, host: str, buffers: Sequence[bytes], left: Callable[[], None] = lambda: None) -> None:
        self._left = left
        try:
            self._json("POST", f"/v1/streams/{stream}/batches?host={quote(host)}&ack=brief", buffers)
        finally:
            self._left = _nothing

    def status(self, host: str, report: Mapping[str, Any]) -> dict[str, Any]:
        return self._json("POST", f"/v1/agents/{quote(host)}/status", report)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _json(self, method: str, target: str, body: Body = None) -> dict[str, Any]:
        try:
            status, text = self._request(method, target, body)
        except (OSError, HTTPException) as error:
            self.close()
            raise not_answered(self._endpoint, error) from None
        except BaseException:
            self.close()
            raise
        if status == NO_CONTENT:
            return {}
        try:
            value = json.loads(text)
        except ValueError:
            value = None
        if status < 400 and isinstance(value, dict):
            return value
        answer = value if isinstance(value, dict) else {}
        told = _error(answer, status, f"{method} {target} was answered with {status}")
        if isinstance(told, Refused) and not isinstance(self._endpoint, str):
            self._where.refused(self._endpoint, told)
        raise told

    def _request(self, method: str, target: str, body: Body) -> tuple[int, bytes]:
        """One exchange. A connection that the node closed while it was idle is replaced, once."""
        endpoint = self._where.endpoint()
        if endpoint is not self._endpoint:
            if _shown(endpoint) is not _shown(self._endpoint):
                self.close()
            self._endpoint = endpoint
        if self._connection is not None:
            try:
                return self._exchange(method, target, body)
            except (ConnectionError, RemoteDisconnected):
                self.close()
        return self._exchange(method, target, body)

    def _exchange(self, method: str, target: str, body: Body) -> tuple[int, bytes]:
        if self._connection is None:
            self._connection = connect(self._where.endpoint(), self._answer_seconds)
            self._where.reached(self._connection.host, self._connection.port)
        connection = self._connection
        if isinstance(body, Mapping):
            pace: Pace | Slower = UNBOUND
            buffers = _few([json.dumps(body, separators=(",", ":")).encode()])
        else:
            buffers, pace = _few(body or ()), self._pace
        connection.putrequest(method, target, skip_accept_encoding=True)
        if body is not None:
            connection.putheader("Content-Length", str(sum(map(len, buffers))))
        if len(buffers) == 1 and buffers[0] and isinstance(connection, OneSend):
            connection.hold()
        connection.endheaders()
        try:
            for buffer in buffers:
                for piece in pace.pieces(buffer):
                    connection.send(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass  # a node that refuses early answers before it has read all: the answer says why
        self._left()
        answer = connection.getresponse()
        text = answer.read()
        if answer.will_close:
            self.close()
        return answer.status, text


def _nothing() -> None:
    pass


def _shown(endpoint: Endpoint | str) -> object:
    """What is shown to a node there: nothing, or a certificate."""
    return endpoint.context if isinstance(endpoint, TlsEndpoint) else None


def _few(buffers: Sequence[bytes]) -> Sequence[bytes]:
    """Small ones as one: each is a packet, and a record of TLS."""
    return buffers if sum(map(len, buffers)) > ONE_BUFFER_BYTES else [b"".join(buffers)]


def is_refusal(error: Exception) -> bool:
    """Whether the node has said no, so that asking again is of no use by itself."""
    return isinstance(error, BcsError) and not isinstance(error, Unreachable)


def read_head(value: Mapping[str, Any]) -> Head:
    """A node's {epoch, lsn, hash, cause} as a Head. Failed when it makes no sense."""
    try:
        hash = bytes.fromhex(value.get("hash") or "")
        cause, through_at = str(value.get("cause") or ""), int(value.get("through_at") or 0)
        version = int(value.get("batch_version") or 1)
        recovery = str(value.get("recovery") or "")
        return Head(int(value["epoch"]), int(value["lsn"]), hash or NO_HASH, cause, through_at, version, recovery)
    except (KeyError, TypeError, ValueError):
        raise Failed(f"the node answered {dict(value)!r:.200} where a position was expected") from None


def _code(value: Mapping[str, Any]) -> str:
    told = value.get("error")
    return str(told.get("code")) if isinstance(told, dict) else ""


def _error(value: Mapping[str, Any], status: int, otherwise: str) -> BcsError:
    error = as_error(value, otherwise)
    # A conflict is answered like a wrong order: either way the stream is to be opened again.
    expected = value.get("expected") or error.details.get("expected")
    if status in (409, 422) and isinstance(expected, dict):
        return OutOfOrder(read_head(expected))
    if _code(value) == CopyRefused.code:
        return CopyRefused(error.message)
    return Unreachable(error.message) if status in (408, 500, 502, 503, 504) else error
