"""What agents ask of a node: hello, desired state, a stream to write, batches, a report."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from engine.journal import epochs
from engine.journal.commit import Ack, Conflict, CopyRefused, Opened
from engine.journal.heads import Head
from engine.model.errors import Refused, UsageError
from engine.model.ids import parse_address
from engine.node import reports
from engine.node.api import fields
from engine.node.api.bodies import TooLarge
from engine.node.api.web import Answer, answering, read_json
from engine.node.callers.access import AGENT, allow, need_host
from engine.node.desired import bounded
from engine.node.forks import recovery_at
from engine.node.log import BATCH_DIGITS, DEBUG, INFO, SLOW_SECONDS, log, wanted
from engine.node.monitoring.status import Report
from engine.node.parts import Parts
from engine.node.recovered import follow_fork
from engine.wire.batch import HASH_BYTES, NO_HASH, Batch, decode
from engine.wire.batch import VERSION as BATCH_VERSION
from engine.wire.errors import Malformed
from engine.wire.limits import BATCH_BYTES_MAX

WAIT_SECONDS_MAX = 60.0
_HOST_CHARS = 253
_WORD_CHARS = 200


class Foreign(Refused):
    """A stream that by the applied policies is another host's, or nobody's."""


RECORDED = {
    Malformed: "malformed",
    Conflict: "conflict",
    Foreign: "foreign",
    TooLarge: "too-large",
    CopyRefused: "copy-refused",
}
"""Refusals that go into the audit stream, and as what kind: an agent of ours brings none of them about by itself."""


def routes(parts: Parts) -> list[Route]:
    """The agents' routes, each bound to the node's parts."""

    async def hello(request: Request) -> Response:
        host = host_of(request)
        body = await read_json(request, parts.bodies)
        version = fields.text(body, "version", "", chars_max=_WORD_CHARS)
        mechanism = fields.text(body, "mechanism", "", chars_max=_WORD_CHARS)
        pid = fields.whole(body, "pid", 0)
        agent = parts.heard(host)
        agent.version, agent.mechanism, agent.pid = version, mechanism, pid
        return Answer({"time": agent.heard_at, "generation": parts.desired.generation})

    async def desired(request: Request) -> Response:
        host = host_of(request)
        try:
            generation = int(request.query_params.get("generation", "-1"))
            seconds = bounded(float(request.query_params.get("wait", "0")), WAIT_SECONDS_MAX)
        except ValueError:
            raise UsageError("generation and wait are numbers") from None
        await parts.desired.wait(generation, seconds)
        restores = [*parts.restores.for_host(host), *parts.rehearsals.for_host(host)]
        return Answer({**parts.desired.for_host(host), "restores": restores, "time": parts.clock.now()})

    async def status(request: Request) -> Response:
        take_report(parts, host_of(request), await read_json(request, parts.bodies))
        every = reports.every_seconds(len(parts.agents))
        return Answer({"time": parts.clock.now(), "generation": parts.desired.generation, "report_seconds": every})

    async def open_stream(request: Request) -> Response:
        stream = request.path_params["stream"]
        body = await read_json(request, parts.bodies)
        host = fields.text(body, "host", chars_max=_HOST_CHARS)
        need_host(request, host)
        writer = fields.label(body, "writer", chars_max=_WORD_CHARS)
        record, acknowledged = read_record(body)
        async with recording(parts, "open-refused", host, {"stream": stream}):
            address = owned(parts, stream, host)
        return Answer(await asyncio.to_thread(open_stream_for, parts, stream, address, writer, record, acknowledged))

    async def batches(request: Request) -> Response:
        stream = request.path_params["stream"]
        host = request.query_params.get("host", "")
        need_host(request, host)
        async with recording(parts, "batch-refused", host, {"stream": stream}):
            owned(parts, stream, host)
            async with parts.bodies.whole(request, BATCH_BYTES_MAX) as body:
                loop, begun = asyncio.get_running_loop(), parts.clock.monotonic()
                ack = await loop.run_in_executor(parts.ingest, take_batch, parts, stream, body)
                done = await asyncio.wrap_future(ack)
                batch_done(parts, done, stream, host, parts.clock.monotonic() - begun)
        if request.query_params.get("ack") == "brief":
            return Response(status_code=204)
        return Answer(
            {
                "position": {"epoch": done.position.epoch, "lsn": done.position.lsn},
                "hash": done.hash.hex(),
                "committed_at": done.committed_at,
                "duplicate": done.duplicate,
            }
        )

    return [
        Route("/v1/agents/{host}/hello", answering(allow(AGENT, hello)), methods=["POST"]),
        Route("/v1/agents/{host}/desired", answering(allow(AGENT, desired)), methods=["GET"]),
        Route("/v1/agents/{host}/status", answering(allow(AGENT, status)), methods=["POST"]),
        Route("/v1/streams/{stream}/open", answering(allow(AGENT, open_stream)), methods=["POST"]),
        Route("/v1/streams/{stream}/batches", answering(allow(AGENT, batches)), methods=["POST"]),
    ]


@asynccontextmanager
async def recording(parts: Parts, what: str, host: str, details: Mapping[str, Any]) -> AsyncIterator[None]:
    """Refusals that concern the audit are in its stream before they are answered."""
    try:
        yield
    except (Malformed, Conflict, Foreign, TooLarge, CopyRefused) as error:
        told = {**details, "host": host, "error": error.message}
        await asyncio.to_thread(parts.audit.refusal, what, f"agent {host}", told, RECORDED[type(error)])
        raise


def batch_done(parts: Parts, ack: Ack, stream: str, host: str, seconds: float) -> None:
    """A batch was acknowledged so many seconds after it was here: counted, and in the log if that was long."""
    parts.metrics.acknowledged.observe(seconds)
    level = INFO if seconds > SLOW_SECONDS else DEBUG
    if wanted(level):
        named = ack.hash.hex()[:BATCH_DIGITS]
        text = "batch was here before" if ack.duplicate else "batch committed"
        took = round(seconds, 3)
        log(text, parts.clock, level=level, batch=named, stream=stream, host=host, at=str(ack.position), seconds=took)


def host_of(request: Request) -> str:
    host: str = request.path_params["host"]
    if len(host) > _HOST_CHARS or not host.isprintable():
        raise UsageError(f"a host's name is 1 to {_HOST_CHARS} printable characters")
    return host


def owned(parts: Parts, stream: str, host: str) -> str:
    """The stream's address; Foreign for a stream that is not this host's by policy."""
    address = parts.desired.owner(stream, host)
    if address is None:
        raise Foreign(
            f"stream {stream[:_WORD_CHARS]} is not one that host '{host[:_HOST_CHARS]}' protects",
            hint="the applied policies say which sources a host has",
        )
    return address


def read_record(body: Mapping[str, Any]) -> tuple[tuple[int, int, bytes] | None, int]:
    """A writer's last position as it travels, and the last LSN it was told is committed.

    `record` is {epoch, lsn, hash, acknowledged}, or null.
    """
    if body.get("record") is None:
        return None, 0
    record = fields.mapping(body, "record")
    digest = fields.text(record, "hash", chars_max=2 * HASH_BYTES)
    try:
        raw = bytes.fromhex(digest)
    except ValueError:
        raise fields.wrong("hash", digest, "hexadecimal") from None
    last = (fields.whole(record, "epoch"), fields.whole(record, "lsn"), raw)
    return last, fields.whole(record, "acknowledged", 0)


def open_stream_for(
    parts: Parts, stream: str, address: str, writer: str, record: tuple[int, int, bytes] | None, acknowledged_lsn: int
) -> dict[str, Any]:
    """Where the writer goes on. A stream is registered under the address of its first writer."""
    if stream not in parts.committer.streams():
        registered = parts.committer.register(parse_address(address))
        if registered.id != stream:
            raise Refused(f"stream {stream} was never opened, and {address} begins another one")
    opened: Opened = parts.committer.open_stream(stream, writer, record, acknowledged_lsn)
    head = opened.head
    if parts.facts.is_cut(stream, head.epoch, head.lsn):
        follow_fork(parts.journal, parts.facts, stream, head.epoch)
    known = parts.committer.heads().get(stream)
    return {
        "epoch": head.epoch,
        "lsn": head.lsn,
        "hash": head.hash.hex(),
        "cause": opened.cause,
        "through_at": known.through_at if known else 0,
        "batch_version": BATCH_VERSION,
        **recovery_of(parts, stream, head),
    }


def recovery_of(parts: Parts, stream: str, head: Head) -> dict[str, str]:
    """{recovery}: that on demand which an epoch without events begins with, if there is one."""
    if head.hash != NO_HASH:
        return {}
    found = recovery_at(epochs.epochs(parts.journal.store, stream), head.position)
    return {"recovery": found} if found else {}


def take_batch(parts: Parts, stream: str, body: bytearray) -> Future[Ack]:
    """Open one batch and hand it to the committer; the answer is a future of its Ack."""
    batch = opened(body)
    if batch.stream != stream:
        raise Malformed(f"a batch of stream {batch.stream[:_WORD_CHARS]} came for stream {stream}")
    log("batch here", parts.clock, level=DEBUG, batch=batch.hash.hex()[:BATCH_DIGITS], stream=stream)
    future = parts.committer.submit(batch)
    future.add_done_callback(lambda done: _acknowledged(parts, batch, done))
    return future


def opened(body: bytearray) -> Batch:
    """The batch. Malformed without its traceback, which holds what the batch was unpacked to: many may wait to be
    recorded."""
    try:
        return decode(body)
    except Malformed as error:
        message = error.message
    raise Malformed(message)


def _acknowledged(parts: Parts, batch: Batch, done: Future[Ack]) -> None:
    if done.cancelled():
        return
    if (error := done.exception()) is not None:
        named, stream = batch.hash.hex()[:BATCH_DIGITS], batch.stream
        parts.sparingly.log("batch refused", f"batch refused: {error}", batch=named, stream=stream)
        return
    ack = done.result()
    if not ack.duplicate:
        parts.facts.acknowledged(batch, ack.committed_at)


def take_report(parts: Parts, host: str, body: Mapping[str, Any]) -> None:
    """Keep what an agent says of its own sources, and how far they are complete. All of it or, raising, nothing."""
    version = fields.text(body, "version", "", chars_max=_WORD_CHARS)
    generation = fields.whole(body, "generation", -1, low=-1)
    rows = reports.read_sources(body)
    marks_done, marks_told = reports.read_marks_done(body), reports.read_marks_told(body)
    skew, usage = reports.read_clock_skew(body), reports.read_usage(body)
    scratches = reports.read_scratches(body)
    settings = fields.text(body, "settings", "", chars_max=_WORD_CHARS)
    agent = parts.heard(host)
    agent.settings, agent.usage, agent.scratches = settings, usage, scratches
    agent.version, agent.generation, agent.clock_skew = version or agent.version, generation, skew
    parts.desired.marks_done(host, marks_done, marks_told)
    now = agent.heard_at
    for row in rows:
        stream = row["stream"]
        if parts.desired.owner(stream, host) is None:
            continue
        parts.reports[stream] = Report(now, generation, row)
        parts.facts.counted(stream, {name: row[name] for name in reports.TRAFFIC})
        # An agent's word about the future is bounded by what the node's own clock has reached.
        through_at = row["through_at"]
        if through_at and through_at <= now:
            parts.facts.through(stream, through_at)
            parts.committer.watermark(stream, through_at)
