"""What agents ask of a node: hello, desired state, a stream to write, batches, a report."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from engine.journal.commit import Ack, Conflict, Opened
from engine.model.errors import Refused, UsageError
from engine.model.ids import parse_address
from engine.node.parts import Agent, Parts
from engine.node.status import Report
from engine.node.web import answering, read_body, read_json
from engine.wire.batch import Batch, decode
from engine.wire.errors import Malformed
from engine.wire.limits import BATCH_BYTES_MAX

WAIT_SECONDS_MAX = 60.0


def routes(parts: Parts) -> list[Route]:
    """The agents' routes, each bound to the node's parts."""

    async def hello(request: Request) -> Response:
        host = request.path_params["host"]
        body = await read_json(request)
        now = parts.clock.now()
        parts.agents[host] = Agent(
            str(body.get("version", "")), str(body.get("mechanism", "")), int(body.get("pid", 0)), now
        )
        return JSONResponse({"time": now, "generation": parts.desired.generation})

    async def desired(request: Request) -> Response:
        host = request.path_params["host"]
        try:
            generation = int(request.query_params.get("generation", "-1"))
            seconds = min(float(request.query_params.get("wait", "0")), WAIT_SECONDS_MAX)
        except ValueError:
            raise UsageError("generation and wait are numbers") from None
        await parts.desired.wait(generation, seconds)
        return JSONResponse({**parts.desired.for_host(host), "time": parts.clock.now()})

    async def status(request: Request) -> Response:
        host = request.path_params["host"]
        body = await read_json(request)
        now = parts.clock.now()
        agent = parts.agents.setdefault(host, Agent())
        agent.heard_at, agent.version = now, str(body.get("version", agent.version))
        agent.generation = int(body.get("generation", -1))
        for row in body.get("sources", ()):
            take_report(parts, host, row, agent.generation, now)
        parts.desired.marks_done([str(mark) for mark in body.get("marks_done", ())])
        return JSONResponse({"time": now, "generation": parts.desired.generation})

    async def open_stream(request: Request) -> Response:
        stream = request.path_params["stream"]
        body = await read_json(request)
        address, _ = owned(parts, stream, str(body.get("host", "")))
        record = read_record(body.get("record"))
        opened = await asyncio.to_thread(open_stream_for, parts, stream, address, str(body.get("writer", "")), record)
        head = opened.head
        return JSONResponse({"epoch": head.epoch, "lsn": head.lsn, "hash": head.hash.hex(), "cause": opened.cause})

    async def batches(request: Request) -> Response:
        stream = request.path_params["stream"]
        host = request.query_params.get("host", "")
        address, _ = owned(parts, stream, host)
        body = await read_body(request, BATCH_BYTES_MAX)
        loop = asyncio.get_running_loop()
        try:
            ack = await loop.run_in_executor(parts.ingest, take_batch, parts, stream, address, body)
            done = await asyncio.wrap_future(ack)
        except (Malformed, Conflict) as error:
            details = {"stream": stream, "host": host, "bytes": len(body), "error": error.message}
            await asyncio.to_thread(parts.audit.refusal, "batch-refused", f"agent {host}", details)
            raise
        return JSONResponse(
            {
                "position": {"epoch": done.position.epoch, "lsn": done.position.lsn},
                "hash": done.hash.hex(),
                "committed_at": done.committed_at,
                "duplicate": done.duplicate,
            }
        )

    return [
        Route("/v1/agents/{host}/hello", answering(hello), methods=["POST"]),
        Route("/v1/agents/{host}/desired", answering(desired)),
        Route("/v1/agents/{host}/status", answering(status), methods=["POST"]),
        Route("/v1/streams/{stream}/open", answering(open_stream), methods=["POST"]),
        Route("/v1/streams/{stream}/batches", answering(batches), methods=["POST"]),
    ]


def owned(parts: Parts, stream: str, host: str) -> tuple[str, dict[str, Any]]:
    """The stream's address and source; Refused for a stream that is not this host's by policy."""
    owner = parts.desired.owner(stream)
    if owner is None or owner[0].split("/")[1] != host:
        raise Refused(
            f"stream {stream} is not one that host '{host}' protects",
            hint="the applied policies say which sources a host has",
        )
    return owner


def read_record(value: Any) -> tuple[int, int, bytes] | None:
    """A writer's last position as it travels: {epoch, lsn, hash}, or None."""
    if value is None:
        return None
    try:
        return int(value["epoch"]), int(value["lsn"]), bytes.fromhex(value["hash"])
    except (KeyError, TypeError, ValueError):
        raise UsageError("a record is {epoch, lsn, hash}") from None


def open_stream_for(
    parts: Parts, stream: str, address: str, writer: str, record: tuple[int, int, bytes] | None
) -> Opened:
    """Where the writer goes on. A stream is registered under the address of its first writer."""
    if stream not in parts.committer.streams():
        registered = parts.committer.register(parse_address(address))
        if registered.id != stream:
            raise Refused(f"stream {stream} was never opened, and {address} begins another one")
    return parts.committer.open_stream(stream, writer, record)


def take_batch(parts: Parts, stream: str, address: str, body: bytearray) -> Any:
    """Open one batch and hand it to the committer; the answer is a future of its Ack."""
    batch = decode(body)
    if batch.stream != stream:
        raise Malformed(f"a batch of stream {batch.stream} came for stream {stream}")
    future = parts.committer.submit(batch)
    future.add_done_callback(lambda done: _acknowledged(parts, batch, done))
    return future


def _acknowledged(parts: Parts, batch: Batch, done: Any) -> None:
    if done.cancelled() or done.exception() is not None:
        return
    ack: Ack = done.result()
    if not ack.duplicate:
        parts.facts.acknowledged(batch, ack.committed_at)


def take_report(parts: Parts, host: str, row: dict[str, Any], generation: int, now: int) -> None:
    """Keep what an agent says of one of its own sources, and how far it is complete."""
    stream = str(row.get("stream", ""))
    owner = parts.desired.owner(stream)
    if owner is None or owner[0].split("/")[1] != host:
        return
    parts.reports[stream] = Report(now, generation, row)
    through_at = row.get("through_at")
    # An agent's word about the future is bounded by what the node's own clock has reached.
    if isinstance(through_at, int) and 0 < through_at <= now:
        parts.facts.through(stream, through_at)
        parts.committer.watermark(stream, through_at)
