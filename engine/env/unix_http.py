"""HTTP with JSON bodies over a Unix socket: how programs of this machine talk to its node.

One request a connection. Socket paths may be longer than the kernel's 107 bytes (unix(7)):
then the directory is opened and the socket reached through /proc/self/fd.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from engine.model import errors
from engine.model.errors import BcsError, Failed, Unreachable

PATH_BYTES_MAX = 107


class UnixConnection(HTTPConnection):
    """An HTTP connection to a socket in the file system."""

    def __init__(self, path: Path, timeout_seconds: float) -> None:
        super().__init__("localhost", timeout=timeout_seconds)
        self.path = path
        self.timeout_seconds = timeout_seconds

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout_seconds)
        if len(os.fsencode(self.path)) <= PATH_BYTES_MAX:
            self.sock.connect(os.fspath(self.path))
            return
        folder = os.open(self.path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.sock.connect(f"/proc/self/fd/{folder}/{self.path.name}")
        finally:
            os.close(folder)


def request_json(
    path: Path, method: str, target: str, body: Mapping[str, Any] | None = None, *, timeout_seconds: float = 30.0
) -> dict[str, Any]:
    """The JSON object that the server at `path` answers. Its errors are raised as the classes they were.

    Unreachable when nobody listens there, or the answer does not come in time.
    """
    connection = UnixConnection(path, timeout_seconds)
    content = json.dumps(body).encode() if body is not None else None
    try:
        with suppress(BrokenPipeError, ConnectionResetError):  # refused before all was read: the answer says why
            connection.request(method, target, content, {"Content-Type": "application/json"} if content else {})
        answer = connection.getresponse()
        status, text = answer.status, answer.read()
    except (OSError, HTTPException) as error:
        raise Unreachable(f"the node does not answer at {path}: {_reason(error)}") from None
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


def _reason(error: Exception) -> str:
    return (os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)).lower()


_KINDS: dict[str, type[BcsError]] = {
    kind.code: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, BcsError)
}
