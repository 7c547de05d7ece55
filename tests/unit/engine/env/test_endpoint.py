"""JSON over a Unix socket or TLS: answers, errors as the classes they were, and nobody there."""

from __future__ import annotations

import json
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import UnixStreamServer
from typing import Any

import pytest

from engine.env.endpoint import PATH_BYTES_MAX, TlsEndpoint, host_and_port, request_json
from engine.model.errors import Failed, NothingThere, Refused, Unreachable, UsageError

Answer = Callable[[str, str, Any], tuple[int, bytes]]


class _Handler(BaseHTTPRequestHandler):
    answer: Answer

    def _respond(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, content = type(self).answer(self.command, self.path, json.loads(body) if body else None)
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = _respond

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def address_string(self) -> str:
        return "local"


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Callable[[Answer], Path]]:
    servers: list[UnixStreamServer] = []

    def start(answer: Answer) -> Path:
        path = tmp_path / "node.sock"
        server = UnixStreamServer(str(path), type("Handler", (_Handler,), {"answer": staticmethod(answer)}))
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return path

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_asks_and_answers_json(serving: Callable[[Answer], Path]) -> None:
    path = serving(lambda method, target, body: (200, json.dumps([method, target, body]).encode()))
    with pytest.raises(Failed, match="no JSON object"):
        request_json(path, "GET", "/x")


def test_bodies_travel_both_ways(serving: Callable[[Answer], Path]) -> None:
    path = serving(lambda method, target, body: (201, json.dumps({"got": [method, target, body]}).encode()))
    assert request_json(path, "POST", "/v1/x", {"a": "é"}) == {"got": ["POST", "/v1/x", {"a": "é"}]}


@pytest.mark.parametrize(("code", "kind"), [("nothing-there", NothingThere), ("refused", Refused), ("odd", Failed)])
def test_errors_are_raised_as_what_they_were(
    serving: Callable[[Answer], Path], code: str, kind: type[Exception]
) -> None:
    error = {"error": {"code": code, "message": "no", "hint": "look", "details": {"n": 1}}}
    path = serving(lambda method, target, body: (404, json.dumps(error).encode()))
    with pytest.raises(Failed if kind is Failed else kind) as raised:
        request_json(path, "GET", "/x")
    assert (raised.value.message, raised.value.hint, raised.value.details) == ("no", "look", {"n": 1})


def test_nobody_there_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="no such file"):
        request_json(tmp_path / "node.sock", "GET", "/x")
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(tmp_path / "dead.sock"))
    dead.close()
    with pytest.raises(Unreachable, match="refused"):
        request_json(tmp_path / "dead.sock", "GET", "/x")


def test_a_server_that_says_nothing_is_unreachable(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "mute.sock"))
    listener.listen()
    with listener, pytest.raises(Unreachable):
        request_json(tmp_path / "mute.sock", "GET", "/x", timeout_seconds=0.1)


def test_paths_longer_than_the_kernel_takes(serving: Callable[[Answer], Path], tmp_path: Path) -> None:
    short = serving(lambda method, target, body: (200, b"{}"))
    folder = tmp_path / ("d" * 120)
    folder.mkdir()
    (folder / "node.sock").hardlink_to(short)
    assert len(os.fsencode(folder)) > PATH_BYTES_MAX
    assert request_json(folder / "node.sock", "GET", "/x") == {}


@pytest.mark.parametrize(
    ("url", "expected"),
    [("https://a:1", ("a", 1)), ("https://a", ("a", 8440)), ("https://[::1]:5/", ("::1", 5))],
)
def test_urls_name_a_host_and_a_port(url: str, expected: tuple[str, int]) -> None:
    assert host_and_port(url) == expected


@pytest.mark.parametrize("url", ["", "a:1", "http://a:1", "https://", "https://a:x", "https://u@a", "https://a/b"])
def test_what_is_no_url_of_a_node_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="is no node's URL"):
        host_and_port(url)


def test_with_several_urls_each_is_tried_and_each_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused
        port = taken.getsockname()[1]
        urls = (f"https://127.0.0.1:{port}", f"https://localhost:{port}")
        with pytest.raises(Unreachable, match=rf"127.0.0.1:{port}: connection refused; .*localhost:{port}: ") as raised:
            request_json(TlsEndpoint(urls, ssl.create_default_context()), "GET", "/x")
        assert "systemctl status bcs-node" in raised.value.hint
