"""Where a node answers, over a Unix socket or over TLS, and how it is asked: HTTP with JSON bodies.

Socket paths may be longer than the kernel's 107 bytes (unix(7)): then the directory is opened and the socket reached
through /proc/self/fd. Over TLS the node is known by its site's authority alone, whatever else this machine trusts.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from engine.model import errors
from engine.model.errors import BcsError, Failed, Unauthenticated, Unreachable, UsageError

PATH_BYTES_MAX = 107
SEND_BYTES = 1 << 20
"""What a Unix socket may hold on its way."""
CONNECT_SECONDS = 5.0
"""For TCP and TLS together, so that a node that is away does not keep anybody from asking the next one."""
LOST_MILLISECONDS = 15_000
"""What was sent and is not confirmed for so long: the connection is given up (TCP_USER_TIMEOUT, tcp(7))."""
KEEPALIVE = ((socket.TCP_KEEPIDLE, 10), (socket.TCP_KEEPINTVL, 5))
"""Who waits for an answer sends nothing: probes notice that the line was cut, within LOST_MILLISECONDS."""
PORT = 8440
_SO_SNDBUFFORCE = 32  # asm-generic/socket.h; a process without CAP_NET_ADMIN gets as much as net.core.wmem_max
AWAY_HINT = "is the node up (`systemctl status bcs-node` there), and the way to it? `bcsctl apply` starts it again"
UNTRUSTED_HINT = "is it the right node? `bcsctl login URL` takes the authority of a site that was made anew"


@dataclass(frozen=True, slots=True)
class UnixEndpoint:
    """A node of this machine, behind its socket."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class TlsEndpoint:
    """A site's nodes, each by an `https://host[:port]` URL; the first that can be reached is asked.

    `context` holds whom we trust and who we are (engine.identity.contexts). `token` is a bearer's, sent when not empty.
    """

    urls: tuple[str, ...]
    context: ssl.SSLContext = field(repr=False, compare=False)
    token: str = field(default="", repr=False)

    def __str__(self) -> str:
        return ", ".join(self.urls)


Endpoint = UnixEndpoint | TlsEndpoint


class OneSend(HTTPConnection):
    """A connection that can send a request's head together with the first bytes of its body: one record, one packet."""

    _held: bytes | None = None
    _holding = False

    def hold(self) -> None:
        """Keep what is sent next, the head, until something follows it."""
        self._holding = True

    def send(self, data: Any) -> None:
        if self._holding:
            self._held, self._holding = bytes(data), False
            return
        held, self._held = self._held, None
        super().send(held + bytes(data) if held is not None else data)


class UnixConnection(OneSend):
    """An HTTP connection to a socket in the file system."""

    def __init__(self, path: Path, timeout_seconds: float) -> None:
        super().__init__("localhost", timeout=timeout_seconds)
        self.path = path
        self.timeout_seconds = timeout_seconds

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout_seconds)
        _widen(self.sock)
        if len(os.fsencode(self.path)) <= PATH_BYTES_MAX:
            self.sock.connect(os.fspath(self.path))
            return
        folder = os.open(self.path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.sock.connect(f"/proc/self/fd/{folder}/{self.path.name}")
        finally:
            os.close(folder)


def _widen(sock: socket.socket) -> None:
    """Let a Unix socket hold more than the kernel's 200 KiB, as TCP's do by themselves: else each of a large body's
    pieces is a change from one process to the other and back (socket(7), SO_SNDBUFFORCE)."""
    for option in (_SO_SNDBUFFORCE, socket.SO_SNDBUF):
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, option, SEND_BYTES)
            return


class TlsConnection(OneSend, HTTPSConnection):
    """An HTTP connection to one node over TLS. Every request carries the bearer's token, if there is one."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext, token: str, timeout_seconds: float) -> None:
        super().__init__(host, port, timeout=min(timeout_seconds, CONNECT_SECONDS), context=context)
        self._token = token
        self._answer_seconds = timeout_seconds

    def connect(self) -> None:
        super().connect()
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, LOST_MILLISECONDS)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, seconds in KEEPALIVE:
            self.sock.setsockopt(socket.IPPROTO_TCP, option, seconds)
        self.sock.settimeout(self._answer_seconds)

    def putrequest(self, method: str, url: str, skip_host: bool = False, skip_accept_encoding: bool = False) -> None:
        super().putrequest(method, url, skip_host, skip_accept_encoding)
        if self._token:
            self.putheader("Authorization", f"Bearer {self._token}")


def connect(endpoint: Endpoint, timeout_seconds: float) -> HTTPConnection:
    """An open connection to the endpoint; with several URLs to the first node that can be reached.

    `timeout_seconds` is for each answer, and bounds connecting. Unreachable, with the reason of each, when none can be.
    """
    failures, untrusted = [], False
    for connection, where in _connections(endpoint, timeout_seconds):
        try:
            connection.connect()
            return connection
        except (OSError, HTTPException, ValueError) as error:
            connection.close()
            failures.append(f"the node does not answer at {where}: {reason(error)}")
            untrusted = untrusted or isinstance(error, ssl.SSLCertVerificationError)
    hint = "" if isinstance(endpoint, UnixEndpoint) else UNTRUSTED_HINT if untrusted else AWAY_HINT
    raise Unreachable("; ".join(failures), hint=hint, details={"untrusted": True} if untrusted else None)


def request_json(
    endpoint: Endpoint | Path,
    method: str,
    target: str,
    body: Mapping[str, Any] | None = None,
    *,
    timeout_seconds: float = 30.0,
) -> dict[str, Any]:
    """The JSON object that a node answers; a path is that of its Unix socket. Its errors are raised as they were there.

    Unreachable when nobody listens there, or the answer does not come in time: then it may have been done.
    """
    endpoint = UnixEndpoint(endpoint) if isinstance(endpoint, Path) else endpoint
    content = json.dumps(body).encode() if body is not None else None
    connection = connect(endpoint, timeout_seconds)
    try:
        with suppress(BrokenPipeError, ConnectionResetError):  # refused before all was read: the answer says why
            connection.request(method, target, content, {"Content-Type": "application/json"} if content else {})
        answer = connection.getresponse()
        status, text = answer.status, answer.read()
    except (OSError, HTTPException) as error:
        raise not_answered(endpoint, error) from None
    finally:
        connection.close()
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise Failed(f"the node answered {method} {target} with {status} and no JSON object")
    if status >= 400:
        raise as_error(value, f"{method} {target} was answered with {status}")
    return value


def as_error(body: Mapping[str, Any], otherwise: str) -> BcsError:
    """The error that an answer's body describes."""
    told = body.get("error")
    if not isinstance(told, dict):
        return Failed(otherwise)
    kind = _KINDS.get(str(told.get("code")), Failed)
    details = told.get("details")
    return kind(
        str(told.get("message") or otherwise),
        hint=str(told.get("hint") or ""),
        details=details if isinstance(details, dict) else {},
    )


def not_answered(endpoint: Endpoint | str, error: Exception) -> BcsError:
    """What it means that a connection failed while an answer was awaited. In TLS 1.3 a client hears only then that its
    certificate was refused (RFC 8446, 4.4.2.4 and 6.2)."""
    refused = _ALERTS.get(error.reason or "") if isinstance(error, ssl.SSLError) else None
    if refused is not None:
        return Unauthenticated(f"the node at {endpoint} refused this certificate: {refused}")
    return Unreachable(f"the node does not answer at {endpoint}: {reason(error)}")


def reason(error: Exception) -> str:
    """Why a connection failed, in a few words without a line's end."""
    if isinstance(error, ssl.SSLCertVerificationError):
        clock = ": is this machine's clock right?" if error.verify_code in _CLOCK else ""
        return f"its certificate is not trusted: {error.verify_message}{clock}"
    if isinstance(error, ssl.SSLError):
        return f"tls: {(error.reason or str(error)).lower().replace('_', ' ')}"
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        return os.strerror(error.errno).lower()
    return str(error).lower() or type(error).__name__


def _connections(endpoint: Endpoint, timeout_seconds: float) -> list[tuple[HTTPConnection, str]]:
    if isinstance(endpoint, UnixEndpoint):
        return [(UnixConnection(endpoint.path, timeout_seconds), str(endpoint.path))]
    return [
        (TlsConnection(host, port, endpoint.context, endpoint.token, timeout_seconds), f"{host}:{port}")
        for host, port in map(host_and_port, endpoint.urls)
    ]


def host_and_port(url: str) -> tuple[str, int]:
    """The two of an `https://host[:port]` URL; UsageError for anything else."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or PORT
    except ValueError:
        host, port = None, PORT
    if not host or parts.scheme != "https" or parts.path.strip("/") or parts.query or parts.username:
        raise UsageError(f"'{url}' is no node's URL", hint=f"write it as https://host:{PORT}")
    return host, port


_CLOCK = (9, 10)  # X509_V_ERR_CERT_NOT_YET_VALID, _HAS_EXPIRED
_ALERTS = {
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "revoked",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "expired",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "not accepted",
    "SSLV3_ALERT_BAD_CERTIFICATE": "not accepted",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "not accepted",
    "TLSV1_ALERT_UNKNOWN_CA": "issued by another authority",
    "TLSV1_ALERT_DECRYPT_ERROR": "issued by another authority",
    "TLSV1_ALERT_ACCESS_DENIED": "not accepted",
}

_KINDS: dict[str, type[BcsError]] = {
    kind.code: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, BcsError)
}
