"""A process of simulated agents: each speaks to a real node as a real agent does, over connections of its own.

    python -m tests.bench.simulated      a plan as JSON on standard input, results as JSON on standard output

It says "ready" once every stream is open, begins at the first further line on its standard input and ends after the
plan's time. Busy agents use the agent's own client, a thread each; idle ones are so many that they share an event
loop (tests/bench/idle.py).
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from engine.agent.ship.client import HttpNode
from engine.model.errors import BcsError
from engine.model.ids import parse_address, stream_id
from tests.bench import idle, reaching
from tests.bench.load import Content, Load, Pieces


@dataclass(slots=True)
class Result:
    """What one busy agent had acknowledged: stored bytes, raw bytes of its batches, events, seconds until each
    acknowledgement; `late` batches began after the time they were due for."""

    host: str
    address: str
    kind: str
    bytes: int = 0
    events: int = 0
    lsn: int = 0
    epoch: int = 0
    late: int = 0
    ack_seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)


def open_content(node: HttpNode, load: Load, pieces: dict[str, Pieces]) -> Content:
    """The stream of a busy agent, open at the node."""
    stream = stream_id(parse_address(load.address))
    content = Content(load, stream, pieces.get(load.kind), lambda: time.time_ns() // 1000)
    head = node.open_stream(stream, load.host, f"bench {load.host}", None)
    content.epoch, content.lsn, content.prev = head.epoch, head.lsn, head.hash
    return content


def run_busy(node: HttpNode, content: Content, seconds: float, result: Result) -> None:
    """Send batches until the time is over; the last one is waited for."""
    load = content.load
    begin = time.monotonic()
    due = begin + (hash(load.host) % 97 / 97) * load.every_seconds
    while due < begin + seconds:
        time.sleep(max(0.0, due - time.monotonic()))
        buffers, events = content.next_batch()
        sent = time.monotonic()
        try:
            node.send(content.stream, load.host, buffers)
        except BcsError as error:
            result.errors.append(error.message)
            return
        acknowledged = time.monotonic()
        if acknowledged <= begin + seconds:  # what ends later does not count as done within the time
            result.bytes += sum(map(len, buffers))
            result.events += events
        result.ack_seconds.append(acknowledged - sent)
        result.lsn = content.lsn
        due = due + load.every_seconds if load.every_seconds else acknowledged
        if load.every_seconds and acknowledged > due:
            result.late += 1


def run(plan: dict[str, Any], ready: Callable[[], None], *, with_files: bool = False) -> dict[str, Any]:
    """The whole plan: {busy: [Load...], idle: [{host, stream}...], seconds} and where the node is
    (tests/bench/reaching.py). The answer: {busy: [Result...], idle: {...}}."""
    loads = [Load(**each) for each in plan["busy"]]
    pieces = {kind: Pieces(kind) for kind in {load.kind for load in loads} - {"small"}}
    nodes = [reaching.clients(plan, load.host)() for load in loads]
    contents = [open_content(node, load, pieces) for node, load in zip(nodes, loads, strict=True)]
    results = [
        Result(load.host, load.address, load.kind, epoch=each.epoch) for load, each in zip(loads, contents, strict=True)
    ]
    calm = idle.Agents(plan["idle"], plan) if plan["idle"] else None
    if calm:
        calm.start()
    ready()
    threads = [
        threading.Thread(target=run_busy, args=(node, content, plan["seconds"], result))
        for node, content, result in zip(nodes, contents, results, strict=True)
    ]
    for thread in threads:
        thread.start()
    told = calm.measure(plan["seconds"]) if calm else {}
    for thread in threads:
        thread.join()
    if calm:
        calm.end()
    for node in nodes:
        node.close()
    if with_files:
        for content, result in zip(contents, results, strict=True):
            result.files = digests(content.files())
    return {"busy": [_as_json(result) for result in results], "idle": told}


def digests(files: dict[bytes, bytes]) -> dict[str, str]:
    """{path: SHA-256 of its content}."""
    return {path.decode(): hashlib.sha256(content).hexdigest() for path, content in files.items()}


def _as_json(result: Result) -> dict[str, Any]:
    return {name: getattr(result, name) for name in Result.__slots__}


def main(lines: Sequence[str] = ()) -> int:
    plan = json.loads(sys.stdin.readline())

    def ready() -> None:
        print("ready", flush=True)
        sys.stdin.readline()

    with suppress(BrokenPipeError):
        print(json.dumps(run(plan, ready, with_files=plan.get("with_files", False))), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
