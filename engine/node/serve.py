"""Run a node: wire its parts, recover what the journal says, listen on its sockets until told to stop.

On SIGTERM it stops taking requests, commits what it has taken, and closes its boot.
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException

from engine.env import durable, notify, randomness
from engine.env.clock import SYSTEM, Clock
from engine.journal import control
from engine.journal.authority import ensure_authority
from engine.journal.commit import Committer
from engine.journal.open import Journal, open_local
from engine.model.errors import BcsError, Damaged, Failed, UsageError
from engine.model.times import SECOND
from engine.node import commits, place, recovered
from engine.node.alerts.watch import Watch
from engine.node.api import agents as agents_api
from engine.node.api import asof as asof_api
from engine.node.api import certificates as certificates_api
from engine.node.api import commands as commands_api
from engine.node.api import control as control_api
from engine.node.api import drills as drills_api
from engine.node.api import forsaken as forsaken_api
from engine.node.api import metrics as metrics_api
from engine.node.api import notify as notify_api
from engine.node.api import recoveries as recoveries_api
from engine.node.api import restores as restores_api
from engine.node.api import scratches as scratches_api
from engine.node.api import supply as supply_api
from engine.node.api import sync as sync_api
from engine.node.api import users as users_api
from engine.node.api.web import no_route
from engine.node.applied import check_sources
from engine.node.audit import AuditLog
from engine.node.callers.certificates import Certificates
from engine.node.callers.identified import identified
from engine.node.callers.refusals import Refusals
from engine.node.callers.users import Users
from engine.node.commands import Commands
from engine.node.drills import Drills
from engine.node.expected import expected_since
from engine.node.jobs import Upkeep
from engine.node.log import WARNING, log, log_failure, take_library_logs
from engine.node.marks import KeptMarks
from engine.node.master_key import ensure_master_key
from engine.node.network.http import Http, UnixHttp
from engine.node.network.listener import AT_ONCE, BACKLOG, Listener, bound
from engine.node.network.server_certificate import ServerCertificate
from engine.node.parts import Parts
from engine.node.settings import NodeSettings, listen_address, read_settings
from engine.node.upkeep import identity_jobs, jobs_of

STOP_SECONDS = 4
"""For answering what was taken before a stop. Who stops a node kills it after 9 s; committing comes after this."""

UPKEEP_SECONDS = 2.0
"""For the upkeep's running job to end by itself; any may be cut off anywhere."""


def serve(home: Path, *, version: str, command: tuple[str, ...] = (), clock: Clock = SYSTEM) -> int:
    """Serve the site at `home`, the embedded one unless its settings say more, until SIGTERM or SIGINT; answers the
    exit code. `command` is the program that runs users' commands.

    Raises Failed when another node does, Damaged when the journal's tail can't be trusted.
    """
    asked_to_stop = _signals_noted()
    take_library_logs()
    for part in ("run", "node"):
        durable.make_directories(home / part, mode=0o700)
    with ExitStack() as stack:
        # First of all: nothing of a node that is already there may be touched.
        stack.enter_context(place.held(home))
        stack.enter_context(place.pid_noted(home))
        settings = read_settings(home)
        secured = stack.enter_context(_bound(settings)) if settings.listen else None
        journal = stack.enter_context(open_local(settings.journal, read_master_key(home), create=True, clock=clock))
        parts = wire(home, journal, clock)
        parts.commands = Commands(command, home) if command else None
        stack.callback(parts.close)
        listener = stack.enter_context(place.listening(home / "run" / "node.sock"))
        identity = _own_certificate(home, parts)
        upkeep = Upkeep(jobs_of(parts), clock, lambda job, error: _job_failed(job, error, clock))
        # Revocations count within seconds, whatever merging takes.
        quick = Upkeep(identity_jobs(parts, identity), clock, lambda job, error: _job_failed(job, error, clock))
        where = f" and listens on {settings.listen}" if secured else ""
        log(f"node {parts.name} boot {parts.boot} serves {settings.journal}{where}", clock)
        upkeep.start()
        quick.start()
        if parts.watch is not None:
            parts.watch.start()
        try:
            _run(parts, version, listener, (secured, identity) if secured and identity else None, asked_to_stop)
        finally:
            upkeep.ask_to_stop()
            quick.ask_to_stop()
        parts.close()
        ended = upkeep.join(UPKEEP_SECONDS) and not parts.reads and not parts.restores.busy
    log("stopped" if ended else "stopped; what still ran was cut off", clock)
    if not ended:
        # A thread inside a database can't be ended, and would be torn down under its feet.
        os._exit(0)
    return 0


def _signals_noted() -> list[int]:
    """The list in which signals to stop are noted, but for the time in which uvicorn acts on them.

    One that comes before must not end the process where it stands. Nor must one be lost that uvicorn raises again
    behind its own handlers: it would end the process before what was taken is committed.
    """
    noted: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: noted.append(number))
    return noted


def _bound(settings: NodeSettings) -> socket.socket:
    """The socket for TLS; and as many files may be open as the system lets us have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        return bound(*listen_address(settings.listen))
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise Failed(f"can't listen on {settings.listen}: {reason}", hint="'listen' in node.json says where") from None


def _own_certificate(home: Path, parts: Parts) -> ServerCertificate | None:
    if parts.certificates is None:
        return None
    return ServerCertificate(home, parts.settings, parts.certificates.authority, parts.clock)


def _run(
    parts: Parts,
    version: str,
    listener: socket.socket,
    secured: tuple[socket.socket, ServerCertificate] | None,
    asked_to_stop: Sequence[int],
) -> None:
    served = application(parts, version)
    config = uvicorn.Config(
        identified(served, parts.certificates, parts.users.who, parts.refusals.note, parts.clock),
        http=UnixHttp,
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,  # its warnings come as lines like ours
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    gc.freeze()  # what is there by now stays: the collector need not look through it again and again
    asyncio.run(_Server(config, parts, secured, asked_to_stop).serve(sockets=[listener]))


def _job_failed(job: str, error: Exception, clock: Clock) -> None:
    if isinstance(error, BcsError):
        log(f"{job} failed and is tried again: {error.message}", clock)
    else:
        log_failure(job, error, clock)


def wire(home: Path, journal: Journal, clock: Clock) -> Parts:
    """All parts of a node over an open journal, recovered from it."""
    name, settings = node_name(home), read_settings(home)
    try:
        committer = Committer(journal, name, clock=clock, commit_every_seconds=settings.commit_every / SECOND)
    except Damaged as error:
        raise Damaged(f"the node can't start: {error.message}", hint=error.hint, details=error.details) from None
    try:
        audit = AuditLog(committer, name, clock)
        facts = recovered.facts(journal, committer)
        users = Users(journal, home / "node" / "admins", clock)
        try:
            users.refresh()
        except Damaged as error:  # agents are served all the same; nobody can say which tokens hold, so none does
            log(f"no token counts: {error.message}", clock, level=WARNING)
        refusals = Refusals(audit, clock)
        kept = KeptMarks(home / "node" / "marks.json")
        parts = Parts(name, committer.boot, clock, journal, committer, audit, facts, users, settings, refusals, kept)
        parts.desired.marks = kept.read()
        if settings.listen:
            authority = ensure_authority(journal, settings.site, clock)
            parts.certificates = Certificates(journal, authority, settings.site, settings.certificate_seconds, clock)
            parts.certified = parts.certificates.certified
        parts.desired.site = settings.site
        parts.desired.begin(committer.boot, _applied(journal, clock))
        unheard = [each for each, source in parts.desired.sources.items() if not facts.has(source["stream"])]
        parts.desired.since |= expected_since(journal.store, unheard, parts.desired.number)
        committer.on_committed = commits.noted(parts.metrics, clock)
        parts.watch = Watch(parts)
        key_file = ensure_master_key(home, settings.master_key, settings.journal)
        parts.drills = Drills(home, journal, settings.journal, read_master_key(home), clock, key_file)
        parts.drills.begin()
        audit.on_act = parts.heard_act
        recovered.pending_acts(home, audit, clock.now())
        parts.restores.begin(clock.now())
    except BaseException:
        committer.close()
        raise
    return parts


def _applied(journal: Journal, clock: Clock) -> dict[str, Any] | None:
    """The policies that hold. Sources that this release can't work with are left out, and so shown by nobody as
    protected: refusing to start would leave no node to apply better ones to."""
    applied = control.latest(journal.store, control.POLICIES)
    if applied is None:
        return None
    sources: dict[str, dict[str, Any]] = {}
    for address, source in applied["sources"].items():
        try:
            sources |= check_sources({address: source})
        except UsageError as error:
            log(f"left out of policies {applied['number']}: {error.message}", clock)
    return {**applied, "sources": sources}


class _Server(uvicorn.Server):
    """Sends those home who wait for something newer, or whose requests are not whole, so that they hold up no stop."""

    def __init__(
        self,
        config: uvicorn.Config,
        parts: Parts,
        secured: tuple[socket.socket, ServerCertificate] | None,
        asked_to_stop: Sequence[int],
    ) -> None:
        super().__init__(config)
        self._parts, self._secured, self._asked_to_stop = parts, secured, asked_to_stop
        self._listener: Listener | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._secured is not None:
            await self._listen(*self._secured)
        self._beating = asyncio.create_task(notify.beat())
        if self._asked_to_stop:  # before uvicorn took over
            self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        notify.tell(notify.STOPPING)
        await self._parts.desired.release()
        await self._parts.restores.release()
        await self._parts.rehearsals.release()
        if self._parts.commands is not None:
            self._parts.commands.stop()
        self._parts.bodies.stop()
        if self._listener is not None:
            self._listener.stop()
        await super().shutdown(sockets)

    async def _listen(self, bound_to: socket.socket, certificate: ServerCertificate) -> None:
        """Serve TLS beside the Unix socket."""

        def http(state: dict[str, Any]) -> Http:
            return Http(self.config, self.server_state, state)

        parts = self._parts
        self._listener = Listener(
            certificate.context, parts.settings.site, http, parts.refusals.note, parts.certificates
        )
        loop = asyncio.get_running_loop()
        # asyncio accepts as many at once as its backlog says: between a few, handshakes go on. The kernel's is longer.
        self.servers.append(await loop.create_server(self._listener.protocol, sock=bound_to, backlog=AT_ONCE))
        bound_to.listen(BACKLOG)


def application(parts: Parts, version: str) -> Starlette:
    """The ASGI application over a node's parts."""
    served = Starlette(
        routes=[
            *agents_api.routes(parts),
            *control_api.routes(parts, version),
            *asof_api.routes(parts),
            *certificates_api.routes(parts),
            *sync_api.routes(parts),
            *metrics_api.routes(parts, version),
            *notify_api.routes(parts),
            *restores_api.routes(parts),
            *drills_api.routes(parts),
            *scratches_api.routes(parts),
            *supply_api.routes(parts),
            *forsaken_api.routes(parts),
            *recoveries_api.routes(parts),
            *users_api.routes(parts),
            *commands_api.routes(parts),
        ],
        exception_handlers={HTTPException: no_route},
    )
    served.state.parts = parts
    return served


def node_name(home: Path) -> str:
    """The node's own id, made once: `n` and 8 hexadecimal digits."""
    path = home / "node" / "id"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        name = "n" + randomness.token_hex(4)
        durable.create(path.parent, path.name, f"{name}\n".encode())
        return name


def read_master_key(home: Path) -> bytes:
    """The site's master key, made when neither it nor a journal is there; Failed when it is no key."""
    settings = read_settings(home)
    path = ensure_master_key(home, settings.master_key, settings.journal)
    return bytes.fromhex(path.read_text("ascii").strip())
