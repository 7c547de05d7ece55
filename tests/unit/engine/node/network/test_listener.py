"""A connection's memory is bounded whatever its other end has TLS do."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from engine.node.network.listener import FLUSH_BYTES, Connection, Listener


class Raw:
    """The kernel's side of a connection whose peer has not read `unread` bytes."""

    def __init__(self, unread: int) -> None:
        self.unread, self.aborted = unread, False
        self.written = bytearray()

    def get_write_buffer_size(self) -> int:
        return self.unread

    def is_closing(self) -> bool:
        return self.aborted

    def write(self, data: bytes) -> None:
        self.written += data

    def abort(self) -> None:
        self.aborted = True


class KeysAsked:
    """TLS that has nothing for us, and an answer of its own to what came."""

    def __init__(self, outgoing: ssl.MemoryBIO) -> None:
        self._outgoing = outgoing

    def read(self, count: int, into: memoryview) -> int:
        self._outgoing.write(b"a record")
        raise ssl.SSLWantReadError


@pytest.mark.parametrize(("unread", "aborted"), [(0, False), (FLUSH_BYTES, False), (FLUSH_BYTES + 1, True)])
def test_who_has_tls_answer_and_does_not_read_is_sent_home(unread: int, aborted: bool) -> None:
    refused: list[str] = []
    context: Any = None
    listener = Listener(context, "sf", lambda state: None, lambda what, who, kind, told: refused.append(kind), None)  # type: ignore[arg-type,return-value]
    connection, raw, http = Connection(listener), Raw(unread), Any
    connection.raw = raw  # type: ignore[assignment]
    connection._tls = KeysAsked(connection._outgoing)  # type: ignore[assignment]
    connection._deliver(http)  # type: ignore[arg-type]
    assert (raw.aborted, bytes(raw.written)) == (aborted, b"" if aborted else b"a record")
    assert refused == (["asks-and-does-not-read"] if aborted else [])
