"""Run a node: wire its parts, recover what the journal says, listen on a Unix socket until told to stop.

On SIGTERM it stops taking requests, commits what it has taken, and closes its boot.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from engine.env import durable, processes, randomness
from engine.env.clock import SYSTEM, Clock
from engine.journal import control
from engine.journal.commit import Committer
from engine.journal.open import Journal, open_local
from engine.model.errors import Failed
from engine.model.times import format_time
from engine.node import agents_api, asof_api, control_api, recovered
from engine.node.audit import AuditLog
from engine.node.jobs import Upkeep
from engine.node.master_key import ensure_master_key
from engine.node.parts import Parts
from engine.node.upkeep import jobs_of

STOP_SECONDS = 10


def serve(home: Path, *, version: str, clock: Clock = SYSTEM) -> int:
    """Serve the embedded site at `home` until SIGTERM or SIGINT; answers the exit code."""
    for part in ("run", "node"):
        durable.make_directories(home / part, mode=0o700)
    journal = open_local(home / "journal", read_master_key(home), create=True, clock=clock)
    parts = wire(home, journal, clock)
    processes.write_pid_file(home / "run" / "node.pid")
    listener = listen(home / "run" / "node.sock")
    upkeep = Upkeep(jobs_of(parts), clock, lambda job, error: log(clock, f"{job} failed and is tried again: {error}"))
    config = uvicorn.Config(
        application(parts, version, upkeep),
        log_level="warning",
        timeout_graceful_shutdown=STOP_SECONDS,
        lifespan="on",
        access_log=False,
    )
    server = _Server(config, parts)
    log(clock, f"node {parts.name} boot {parts.boot} serves {home / 'journal'}")
    # uvicorn raises the signal that stopped it once more behind its own handlers: without these it
    # would end the process before what was taken is committed.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    try:
        asyncio.run(server.serve(sockets=[listener]))
    finally:
        upkeep.stop()
        parts.ingest.shutdown()
        parts.committer.close()
        journal.close()
        with suppress(FileNotFoundError):
            (home / "run" / "node.sock").unlink()
        if processes.read_pid(home / "run" / "node.pid") == os.getpid():
            (home / "run" / "node.pid").unlink(missing_ok=True)
    log(clock, "stopped")
    return 0


def wire(home: Path, journal: Journal, clock: Clock) -> Parts:
    """All parts of a node over an open journal, recovered from it."""
    name = node_name(home)
    committer = Committer(journal, name, clock=clock)
    audit = AuditLog(committer, name, clock)
    facts = recovered.facts(journal, committer)
    parts = Parts(name, committer.boot, clock, journal, committer, audit, facts)
    # Generations of different boots must never be equal by chance: an agent that waits would sleep on.
    parts.desired.generation = clock.now() // 1000
    recovered.pending_acts(home, audit)
    return parts


class _Server(uvicorn.Server):
    """Sends those home who wait for something newer, so that they don't hold up a stop."""

    def __init__(self, config: uvicorn.Config, parts: Parts) -> None:
        super().__init__(config)
        self._parts = parts

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._parts.desired.release()
        await super().shutdown(sockets)


def application(parts: Parts, version: str, upkeep: Upkeep) -> Starlette:
    """The ASGI application over a node's parts."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        applied = await asyncio.to_thread(control.latest, parts.journal.store, control.POLICIES)
        await parts.desired.replace(applied)
        upkeep.start()
        yield

    return Starlette(
        routes=[*agents_api.routes(parts), *control_api.routes(parts, version), *asof_api.routes(parts)],
        lifespan=lifespan,
    )


def listen(path: Path) -> socket.socket:
    """The node's socket, for its owner only. Failed when another node answers there."""
    probe = socket.socket(socket.AF_UNIX)
    try:
        with _reachable(path) as where:
            probe.connect(where)
        raise Failed(f"another node answers at {path}", hint="`bcsctl down` stops it")
    except (FileNotFoundError, ConnectionRefusedError):
        path.unlink(missing_ok=True)
    finally:
        probe.close()
    listener = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        with _reachable(path) as where:
            listener.bind(where)
    finally:
        os.umask(before)
    listener.listen(128)
    return listener


class _reachable:
    """A socket's path in a form short enough for the kernel (unix(7): 107 bytes)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._folder = -1

    def __enter__(self) -> str:
        if len(os.fsencode(self._path)) <= 107:
            return str(self._path)
        self._folder = os.open(self._path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        return f"/proc/self/fd/{self._folder}/{self._path.name}"

    def __exit__(self, *_: object) -> None:
        if self._folder >= 0:
            os.close(self._folder)


def node_name(home: Path) -> str:
    """The node's own id, made once: 8 hexadecimal digits."""
    path = home / "node" / "id"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        name = "n" + randomness.token_hex(4)
        durable.create(path.parent, path.name, f"{name}\n".encode())
        return name


def read_master_key(home: Path) -> bytes:
    """The embedded site's master key, made when neither it nor a journal is there; Failed when it is no key."""
    return bytes.fromhex(ensure_master_key(home).read_text("ascii").strip())


def log(clock: Clock, text: str) -> None:
    """A line of the node's log, on standard error."""
    print(f"{format_time(clock.now())} {text}", file=sys.stderr, flush=True)
