"""Idle agents: hello, a stream opened, a long poll for what is desired, reports as often as the node asks for them;
two connections each."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from tests.bench.reaching import streams

WAIT_SECONDS = 20.0
"""As engine.agent.run waits."""

READY_SECONDS = 60.0


class Connection:
    """HTTP/1.1 with JSON, one exchange after the other."""

    def __init__(self, plan: Mapping[str, Any], host: str) -> None:
        self._plan, self._host = plan, host
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call(self, method: str, target: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The answer's object. RuntimeError for anything but 200."""
        if self._streams is None:
            self._streams = await streams(self._plan, self._host)
        reader, writer = self._streams
        content = json.dumps(body).encode() if body is not None else b""
        kind = "Content-Type: application/json\r\n" if content else ""
        head = f"{method} {target} HTTP/1.1\r\nHost: node\r\n{kind}Content-Length: {len(content)}\r\n\r\n"
        writer.write(head.encode() + content)
        answer = (await reader.readuntil(b"\r\n\r\n")).lower()
        size = int(answer.partition(b"content-length:")[2].split(b"\r\n")[0])
        text = await reader.readexactly(size)
        if b" 200 " not in answer.split(b"\r\n")[0]:
            raise RuntimeError(f"{method} {target}: {text[:300]!r}")
        return dict(json.loads(text))

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()


class Agents:
    """`agents` are {host, stream}, all on the event loop of one thread. They live from `start` to `end`."""

    def __init__(self, agents: Sequence[Mapping[str, Any]], plan: Mapping[str, Any]) -> None:
        self._agents, self._plan = agents, plan
        self._seconds: list[float] = []
        self._errors: list[str] = []
        self._opened = 0
        self._all_there, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def start(self) -> None:
        """Every agent has opened its stream, and goes on reporting."""
        self._thread.start()
        if not self._all_there.wait(READY_SECONDS):
            raise RuntimeError(
                f"{self._opened} of {len(self._agents)} idle agents opened their streams: {self._errors[:3]}"
            )

    def measure(self, seconds: float) -> dict[str, Any]:
        """{reports, report_seconds, errors} of the time from now on."""
        first = len(self._seconds)
        time.sleep(seconds)
        taken = self._seconds[first:]
        return {"reports": len(taken), "report_seconds": taken, "errors": self._errors[:5]}

    def end(self) -> None:
        self._over.set()
        self._thread.join()

    async def _run(self) -> None:
        tasks = []
        for number, agent in enumerate(self._agents):
            for act in (self._poll, self._report):
                tasks.append(asyncio.create_task(self._alive(act, agent, number / len(self._agents))))
        while not self._over.is_set():
            await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _alive(self, act: Any, agent: Mapping[str, Any], delay_seconds: float) -> None:
        """Begun evenly over a second, as hosts are."""
        connection = Connection(self._plan, agent["host"])
        await asyncio.sleep(delay_seconds)
        try:
            await act(agent, connection)
        except (OSError, RuntimeError, EOFError) as error:
            self._errors.append(f"{agent['host']}: {error!r}")
        finally:
            connection.close()

    async def _poll(self, agent: Mapping[str, Any], connection: Connection) -> None:
        path = f"/v1/agents/{quote(agent['host'])}"
        await connection.call("POST", f"{path}/hello", {"version": "bench", "mechanism": "none", "pid": 1})
        generation = -1
        while True:
            told = await connection.call("GET", f"{path}/desired?generation={generation}&wait={WAIT_SECONDS:g}")
            generation = told["generation"]

    async def _report(self, agent: Mapping[str, Any], connection: Connection) -> None:
        path = f"/v1/agents/{quote(agent['host'])}/status"
        opening = {"host": agent["host"], "writer": f"bench {agent['host']}", "record": None}
        await connection.call("POST", f"/v1/streams/{agent['stream']}/open", opening)
        self._opened += 1
        if self._opened == len(self._agents):
            self._all_there.set()
        due = time.monotonic()
        while True:
            sent = time.monotonic()
            told = await connection.call("POST", path, self._row(agent))
            self._seconds.append(time.monotonic() - sent)
            due = max(due + told.get("report_seconds", 1.0), time.monotonic())
            await asyncio.sleep(due - time.monotonic())

    def _row(self, agent: Mapping[str, Any]) -> dict[str, Any]:
        now = time.time_ns() // 1000
        source = {
            "stream": agent["stream"],
            "state": "protected",
            "mechanism": "fanotify",
            "costs": "",
            "through_at": now - 50_000,
            "last_change_at": None,
            "pending": 0,
            "gap_from": None,
            "unreadable": 0,
            "unreadable_paths": [],
            "baseline": {"files": 1, "bytes": 1, "done": True},
            "message": "",
        }
        return {"sources": [source], "version": "bench", "marks_done": [], "generation": 0}
