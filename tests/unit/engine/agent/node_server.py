"""A FakeNode behind a Unix socket, speaking a real node's HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from fake_node import FakeNode

from engine.agent.ship.client import OutOfOrder
from engine.model.errors import BcsError, Unreachable


class _Server(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # an agent that was killed does not hear its answer

    node: FakeNode


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer(None)

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, body: bytes | None) -> None:
        url = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(url.query).items()}
        try:
            status, value = 200, self._route(url.path.split("/")[2:], asked, body)
        except OutOfOrder as error:
            head = error.head
            status, value = 409, {"expected": {"epoch": head.epoch, "lsn": head.lsn, "hash": head.hash.hex()}}
        except Unreachable as error:
            status, value = 503, error.as_json()
        except BcsError as error:
            status, value = 403, error.as_json()
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _route(self, path: list[str], asked: dict[str, str], body: bytes | None) -> dict[str, Any]:
        node = self.server.node
        what = path[-1]
        if what == "batches":
            node.send(path[1], asked["host"], [body or b""])
            return {"duplicate": False}
        if what == "desired":
            return node.desired(path[1], int(asked["generation"]), float(asked["wait"]))
        value = json.loads(body or b"{}")
        if what == "open":
            head = node.open_stream(path[1], value["host"], value["writer"], value["record"])
            return {"epoch": head.epoch, "lsn": head.lsn, "hash": head.hash.hex(), "cause": head.cause}
        return node.hello(path[1], value) if what == "hello" else node.status(path[1], value)


@contextmanager
def served(node: FakeNode, socket: Path) -> Iterator[FakeNode]:
    """The node, answering at `socket`."""
    socket.unlink(missing_ok=True)
    with _Server(str(socket), _Request) as server:
        server.node = node
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield node
        finally:
            server.shutdown()
            thread.join()
