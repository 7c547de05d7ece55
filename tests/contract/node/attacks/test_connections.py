"""Strangers at the listener: no TLS, old TLS, silence, floods. An agent's batch goes through meanwhile."""

from __future__ import annotations

import contextlib
import resource
import socket
import ssl
import time

import pytest

from engine.env.endpoint import connect
from engine.identity import contexts
from engine.node.audit import REFUSALS_A_MINUTE
from engine.node.network.gate import Limits
from engine.node.network.http import HEAD_SECONDS
from tests.nodes import Writer, file_of
from tests.secured import (
    HOST,
    SecuredNode,
    is_closed,
    raw,
    recorded,
    refused,
)


@pytest.mark.usefixtures("still_good")
def test_garbage_instead_of_tls(node: SecuredNode) -> None:
    for garbage in (
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        bytes(range(256)) * 20,
        b"\x16\x03\x01\xff\xff" + b"\0" * 70000,
    ):
        with raw(node) as connected:
            with contextlib.suppress(ConnectionError):
                connected.sendall(garbage)
            connected.shutdown(socket.SHUT_WR)
            assert is_closed(connected, 5)
    recorded(node, "connection-refused", "no-tls")


@pytest.mark.usefixtures("still_good")
def test_garbage_instead_of_http(node: SecuredNode) -> None:
    for garbage in (b"\x00\xff" * 5000, b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 200_000):
        with raw(node) as connected:
            secured = contexts.client(node.ca_pem).wrap_socket(connected, server_hostname="localhost")
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                secured.sendall(garbage)
            assert is_closed(secured, 5)
    recorded(node, "connection-refused", "no-http")
    assert "Invalid HTTP" not in node.log()


@pytest.mark.usefixtures("still_good")
def test_tls_1_2_is_not_spoken(node: SecuredNode) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with raw(node) as connected, pytest.raises(ssl.SSLError, match=r"(?i)protocol.version"):
        context.wrap_socket(connected)
    recorded(node, "connection-refused", "old-tls")


@pytest.mark.usefixtures("still_good")
def test_who_is_silent_in_a_handshake_or_a_head_is_sent_home(node: SecuredNode, good: Writer) -> None:
    with raw(node) as silent, raw(node) as dripping, raw(node) as in_the_head:
        context = contexts.client(node.ca_pem)
        secured = context.wrap_socket(in_the_head, server_hostname="localhost")
        secured.sendall(b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        dripping.sendall(b"\x16\x03\x01")
        good.send(file_of(b"meanwhile"))
        assert is_closed(silent, Limits().handshake_seconds + 60)
        assert is_closed(dripping, 60)
        end = time.monotonic() + HEAD_SECONDS + 60
        closed = False
        while not closed and time.monotonic() < end:
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                secured.sendall(b"x")
            closed = is_closed(secured, 0.2)
        assert closed
    recorded(node, "connection-refused", "slow")


@pytest.mark.usefixtures("still_good")
def test_who_stalls_in_a_body_keeps_nobody_waiting(node: SecuredNode, good: Writer) -> None:
    """The patience with bodies themselves is tried in test_node_load.py."""
    assert isinstance(good.node, SecuredNode)
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            connection = connect(node.endpoint(good.node.who), 60)
            stack.callback(connection.close)
            connection.putrequest("POST", f"/v1/streams/{good.stream}/batches?host={HOST}")
            connection.putheader("Content-Length", "1000000")
            connection.endheaders()
            connection.send(b"x" * 1000)
        began = time.monotonic()
        for _ in range(5):
            good.send(file_of(b"meanwhile"))
        assert time.monotonic() - began < 9


@pytest.mark.usefixtures("still_good")
def test_a_thousand_connections_of_a_stranger(node: SecuredNode, good: Writer) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 2_000:
        if hard < 2_000:
            pytest.skip(f"this process may open {hard} files only")
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(raw(node, "127.0.0.9")) for _ in range(1_000)]
        began = time.monotonic()
        good.send(file_of(b"meanwhile"))
        assert time.monotonic() - began < 9
        refused_ones = sum(is_closed(each, 0.01) for each in held)
        assert refused_ones >= 1_000 - Limits().handshakes_an_address
        recorded(node, "connection-refused", "too-many-handshakes-of-one-address")
    over = refused(node, "connection-refused", "too-many-handshakes-of-one-address")
    assert len(over) <= 2 * REFUSALS_A_MINUTE  # a minute may end in between


@pytest.mark.usefixtures("still_good")
def test_strangers_who_complete_the_handshake_are_bounded_by_address(node: SecuredNode) -> None:
    context = contexts.client(node.ca_pem)
    with contextlib.ExitStack() as stack:
        over = 0
        for _ in range(Limits().unknown_an_address + 5):
            connected = stack.enter_context(raw(node, "127.0.0.10"))
            try:
                secured = stack.enter_context(context.wrap_socket(connected, server_hostname="localhost"))
                if len(stack._exit_callbacks) > 2 * Limits().unknown_an_address - 10:  # type: ignore[attr-defined]
                    over += is_closed(secured, 0.5)
            except (ConnectionError, ssl.SSLError):
                over += 1
        assert 0 < over <= 6
    recorded(node, "connection-refused", "too-many-connections")
