"""Run a command on a site's node, and show its output here as it comes, with its exit code."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bcsctl.output import colours
from engine.env.endpoint import as_error, connect, not_answered
from engine.model.errors import Failed, Unreachable
from engine.wire import output

if TYPE_CHECKING:
    from engine.env.credentials import Credential

SILENT_SECONDS = 60.0
"""A node that works for us says so every ten."""

Write = Callable[[bytes], None]


def run(site: Credential, argv: Sequence[str]) -> int:
    """The command's exit code; its output has gone to our own standard output and error."""
    return stream(site, argv, _writer(sys.stdout.buffer), _writer(sys.stderr.buffer))


def captured(site: Credential, argv: Sequence[str]) -> tuple[int, bytes]:
    """The command's exit code, and what it wrote on standard output."""
    pieces: list[bytes] = []
    return stream(site, argv, pieces.append, _writer(sys.stderr.buffer)), b"".join(pieces)


def stream(site: Credential, argv: Sequence[str], out: Write, err: Write) -> int:
    """Run a command on a node of the site. Raises what the node raises, and Unreachable when it goes away."""
    endpoint = site.endpoint()
    connection = connect(endpoint, SILENT_SECONDS)
    try:
        try:
            body = json.dumps(task(argv)).encode()
            connection.request("POST", "/v1/commands", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            if answer.status >= 400:
                raise as_error(_object(answer.read()), f"the node answered with {answer.status}")
            frames = output.frames(answer.read)
        except (OSError, HTTPException) as error:
            raise not_answered(endpoint, error) from None
        while True:
            try:
                kind, content = next(frames)
            except (OSError, HTTPException, ValueError, StopIteration) as error:
                raise Unreachable(f"the node's answer broke off: {error}", hint="ask again") from None
            if kind == output.OUT:
                out(content)
            elif kind == output.ERR:
                err(content)
            elif kind == output.END:
                return int(_object(content).get("exit", 1))
            elif kind == output.FAILED:
                raise as_error(_object(content), "the node could not run the command")
    finally:
        connection.close()


def task(argv: Sequence[str]) -> Mapping[str, Any]:
    """What the node is asked: the command, and how its output will be looked at."""
    columns = min(max(shutil.get_terminal_size((100, 24)).columns, 20), 1_000)
    coloured = colours(sys.stdout) and colours(sys.stderr)
    return {"argv": list(argv), "columns": columns, "colour": coloured, "tty": sys.stdout.isatty(), "zone": zone()}


def zone() -> str:
    """This machine's time zone, as TZ has it: times are read and shown in the caller's. Empty for UTC or unknown."""
    named = os.environ.get("TZ", "").removeprefix(":")
    if named:
        return "" if named.startswith("/") else named
    place = os.path.realpath("/etc/localtime")
    return place.partition("/zoneinfo/")[2] if Path(place).exists() else ""


def _writer(stream: Any) -> Write:
    def write(content: bytes) -> None:
        stream.write(content)
        stream.flush()

    return write


def _object(content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise Failed("the node answered with something that is no JSON object")
    return value
