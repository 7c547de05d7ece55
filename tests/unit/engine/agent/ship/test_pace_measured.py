"""Bytes on a real line, counted as they arrive: a bound is kept, shared, and changed while bodies are on their way."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any

import pytest

from engine.agent.limits import InForce, Limits
from engine.agent.ship.client import HttpNode
from engine.agent.ship.pace import Pace
from engine.model.policy.agents import agent_settings

MIB = 1 << 20
MOST, LEAST = 1.3, 0.3
"""Of a bound: what may come, as what was on its way comes at once when the receiver was late; and what a machine
that is busy with other things manages all the same."""


class Counting(ThreadingMixIn, UnixStreamServer):
    """Takes batches and notes when which bytes came: (time, stream, bytes)."""

    daemon_threads = True

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), Taking)
        self.came: list[tuple[float, str, int]] = []


class Taking(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Counting

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        left = int(self.headers["Content-Length"])
        while left:
            piece = self.rfile.read1(left)  # type: ignore[attr-defined]
            left -= len(piece)
            self.server.came.append((time.monotonic(), self.path.split("/")[3], len(piece)))
        data = json.dumps({"duplicate": False}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Counting]:
    with Counting(tmp_path / "s") as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def rate(line: Counting, begins: float, ends: float, stream: str = "") -> float:
    """Bytes a second that came between two moments."""
    return sum(count for at, of, count in line.came if begins <= at < ends and stream in of) / (ends - begins)


def test_a_bound_is_kept_shared_and_changed_on_the_way(line: Counting, tmp_path: Path) -> None:
    limits = InForce(Limits(), lambda: int(time.time() * 1e6))

    def bound(text: str) -> None:
        limits.tell(json.loads(json.dumps(agent_settings({"bandwidth": text}).as_json())))

    pace = Pace(limits.bandwidth)
    ending = threading.Event()

    def send(stream: str) -> None:
        client = HttpNode(tmp_path / "s", pace=pace)
        while not ending.is_set():
            client.send(stream, "h", [bytes(MIB // 2)])
        client.close()

    bound("2MiB/s")
    senders = [threading.Thread(target=send, args=(stream,)) for stream in ("one", "two")]
    for sender in senders:
        sender.start()
    time.sleep(0.3)
    begun = time.monotonic()
    time.sleep(1.5)
    changed = time.monotonic()
    bound("8MiB/s")
    time.sleep(1.5)
    ended = time.monotonic()
    ending.set()
    for sender in senders:
        sender.join(120)
    assert LEAST * 2 * MIB < rate(line, begun, changed) < MOST * 2 * MIB
    assert MOST * 2 * MIB < rate(line, changed + 0.2, ended) < MOST * 8 * MIB
    for stream in ("one", "two"):
        assert 0.25 < rate(line, begun, changed, stream) / rate(line, begun, changed) < 0.75
