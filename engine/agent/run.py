"""The agent of a host: keeps the sources that its node wants protected, and reports on them each second.

What the node wanted last is kept on disk, so that a host that starts while its node is away is protected all the same.
"""

from __future__ import annotations

import functools
import json
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engine.agent.capture.cache import OldBytes
from engine.agent.host.clock import SiteClock
from engine.agent.host.identity import Identity
from engine.agent.host.where import Remote, Where
from engine.agent.kept.spool import Spool
from engine.agent.limits import USUAL, InForce, Limits, rate_in_words, shown
from engine.agent.log import INFO, WARNING, Changes, log
from engine.agent.points.wanted import wanted_in
from engine.agent.protected import Protected, same_scope
from engine.agent.restore.restores import Restores
from engine.agent.settings import Settings, View
from engine.agent.ship.client import HttpNode, Node
from engine.agent.ship.memory import Memory
from engine.agent.ship.pace import Pace, Slower
from engine.agent.source import Source
from engine.agent.status.asking import socket_of
from engine.agent.status.matters import Matter, Told, matters
from engine.agent.status.state import Certificate, Heard, certificate_in, source_row, usage_of
from engine.agent.traffic import Traffic
from engine.drivers.files import Scope
from engine.env import durable, niceness, notify, processes
from engine.env.answering import answering
from engine.env.clock import SYSTEM, Clock
from engine.env.crash import crash
from engine.env.randomness import token_hex
from engine.fill.life.again import Again
from engine.model.errors import BcsError, Refused

STATUS_SECONDS, STATUS_SECONDS_MAX = 1.0, 2.0
LOOK_SECONDS = 0.05
"""How soon news is told; without any, a report goes out each STATUS_SECONDS, or as rarely as the node asks for."""
DESIRED_WAIT_SECONDS = 20.0
RETRY_SECONDS = 0.5
MEASURES_FIRST = 3
"""Of so many the best sets the clock: later ones only slew it."""
OWN_DIRECTORIES = ("journal", "agent", "node", "run", "keys", "cache", "identity")
UNKNOWN = -1
"""The generation of one who has heard of none yet: it is answered at once."""
POLICY_CHANGED = "the policy changed"


class Agent:
    """Sources by stream. `run` returns when `stopping` is set."""

    def __init__(
        self,
        home: Path,
        host: str,
        connect: Callable[[Pace | Slower], Node],
        stopping: threading.Event,
        *,
        clock: Clock = SYSTEM,
        otherwise: Limits = USUAL,
        restores: Restores | None = None,
    ) -> None:
        """`connect` makes a client whose batches keep to a pace; `otherwise` holds until a node says more."""
        self._restores = restores
        self._home, self._host, self._connect_at, self._stopping = home, host, connect, stopping
        self._clock, self._site_clock = clock, SiteClock(clock)
        self._limits = InForce(otherwise, self._site_clock.now)
        self._pace = Pace(self._limits.bandwidth, clock)
        self._baseline_pace = Pace(self._limits.baseline_bandwidth, clock)
        self._spools: dict[str, Spool] = {}
        self._memory = Memory()
        self._directory = home / "agent"
        self._sources: dict[str, Protected] = {}
        self._old_bytes = OldBytes()
        self._traffic: dict[str, Traffic] = {}
        self._lock = threading.Lock()
        self._generation = UNKNOWN
        self._writer = ""
        self._changes, self._obeyed = Changes(clock), Changes(clock)
        self._heard, self._started_at = Heard(), self._site_clock.now()
        self.certificate: Callable[[], Certificate] | None = None
        self._greeted = False
        self._status_seconds = STATUS_SECONDS
        self._version = os.environ.get("BCS_AGENT_VERSION", "")

    def run(self) -> None:
        """Protect until told to stop; then end every source in good order."""
        niceness.make_room_at_once()
        durable.make_directories(self._directory)
        self._writer = self._identity()
        self._apply(self._desired_last())
        asking = threading.Thread(target=self._ask_for_desired, name="desired", daemon=True)
        asking.start()
        node = self._connect()
        notify.tell(notify.READY)
        pulse = notify.Pulse(self._clock)
        told, matters_told, again = object(), Told(self._clock), Again(self._home, self._clock)
        told_at = self._clock.monotonic() - STATUS_SECONDS
        while not self._stopping.wait(LOOK_SECONDS):
            pulse.beat()
            for said in again.look():
                log(said, self._clock, level=WARNING)
            now, news = self._clock.monotonic(), self._news()
            if news != told or now - told_at >= self._status_seconds:
                told, told_at = news, now
                self._report(node)
                matters_told.now(self.state()[1])
                if self._limits.limits.bandwidth:
                    self._changes.now("bandwidth", rate_in_words(self._limits.bandwidth()))
                if self._restores is not None:
                    self._restores.look()
        if self._restores is not None:
            self._restores.stop()
        stopping = [
            threading.Thread(target=each.source.stop, daemon=True) for each in self._sources.values() if each.source
        ]
        for thread in stopping:
            thread.start()
        for thread in stopping:
            thread.join()
        self._report(node)
        node.close()

    def _connect(self) -> Node:
        return self._connect_at(self._pace)

    def _lane(self, baseline: Callable[[], bool]) -> Node:
        return self._connect_at(Slower(self._baseline_pace, self._pace, baseline))

    def site_time(self) -> int:
        """Site time now, microseconds, as far as it has been measured."""
        return self._site_clock.now()

    def state(self) -> tuple[dict[str, Any], list[Matter]]:
        """How this agent is, as its own host may ask, and what is the matter with it."""
        now = self._site_clock.now()
        with self._lock:
            sources = sorted(self._sources.items(), key=lambda each: each[1].wanted.get("address", ""))
        told = {
            "at": now,
            "host": self._host,
            "home": str(self._home),
            "version": self._version,
            "pid": os.getpid(),
            "started_at": self._started_at,
            "node": asdict(self._heard),
            "certificate": asdict(self.certificate()) if self.certificate else None,
            "clock_skew": self._site_clock.skew_microseconds if self._site_clock.measured else None,
            "usage": usage_of(self._limits, self._spools, self._old_bytes),
            "sources": [source_row(each.wanted, each.row(stream), now) for stream, each in sources],
        }
        found = matters(told, now)
        return {**told, "attention": [matter.sentence for matter in found]}, found

    def _bounds(self) -> str:
        """The digest of what bounds this service: of the unit in force, which may change while this process lives."""
        try:
            return (self._directory / "bounds").read_text("ascii", "replace")
        except OSError:
            return os.environ.get("BCS_AGENT_SETTINGS", "")

    def _news(self) -> object:
        """What someone may be waiting for, and is told at once: a state, a mark that is done, policies taken over."""
        with self._lock:
            views = [each.source.view for each in self._sources.values() if each.source is not None]
            return self._generation, [(view.shown()[0], tuple(view.marks_done)) for view in views]

    def _identity(self) -> str:
        """This agent's id as a writer of streams: made once, kept with the records."""
        path = self._directory / "identity"
        if not path.exists():
            durable.replace(path, token_hex(8).encode())
        return path.read_text("ascii").strip()

    def _desired_last(self) -> dict[str, Any]:
        try:
            value = json.loads((self._directory / "desired.json").read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return value if isinstance(value, dict) else {}

    def _ask_for_desired(self) -> None:
        node = self._connect()
        greeted = restores_known = False
        while not self._stopping.is_set():
            try:
                if not greeted:
                    self._hello(node)
                    greeted = True
                # What was wanted last is on disk, but for restores: those are asked for at once.
                asked = self._generation if restores_known or self._restores is None else UNKNOWN
                desired = node.desired(self._host, asked, DESIRED_WAIT_SECONDS)
                if not restores_known:
                    self._follow_restores(desired)
                    restores_known = True
                if desired.get("generation") != self._generation:
                    self._apply(desired)
                    # A mark belongs to its moment: an agent that starts again takes none that it may have taken.
                    # A restore is granted by the node alone, as long as it says so.
                    lasting = {name: value for name, value in desired.items() if name not in ("marks", "restores")}
                    crash("desired-followed")
                    durable.replace(self._directory / "desired.json", json.dumps(lasting).encode())
            except (BcsError, OSError):
                greeted = False
                self._stopping.wait(RETRY_SECONDS)
        node.close()

    def _hello(self, node: Node) -> None:
        facts = {
            "version": self._version,
            "mechanism": next((each.source.view.mechanism for each in self._sources.values() if each.source), ""),
            "home": str(self._home),
            "pid": os.getpid(),
            "wall": self._clock.now(),
            "boottime": self._clock.boottime(),
        }
        # The first one connects, which takes round trips of its own, all of them before the node reads its clock.
        node.hello(self._host, facts)
        self._site_clock.ask(lambda: node.hello(self._host, facts), MEASURES_FIRST)
        self._greeted = True

    def _apply(self, desired: Mapping[str, Any]) -> None:
        """Start, restart and end sources so that they are as desired."""
        self._obey(desired.get("agent"))
        wanted = {each["stream"]: each for each in desired.get("sources", ())}
        with self._lock:
            for stream in [each for each in self._sources if each not in wanted]:
                self._end(stream)
            for stream, each in wanted.items():
                have = self._sources.get(stream)
                if have is not None and have.source is not None and same_scope(have.wanted, each):
                    have.wanted = each
                    if have.source is not None:
                        have.source.settings.crash_points = wanted_in(each)
                        have.source.settings.objective_seconds = each.get("rpo_seconds")
                    continue
                changed = have is not None
                if changed:
                    self._end(stream)
                self._sources[stream] = self._begin(stream, each, POLICY_CHANGED if changed else "")
            for mark in desired.get("marks", ()):
                protected = self._sources.get(mark["stream"])
                if protected is not None and protected.source is not None:
                    protected.source.ask_mark(mark["id"], mark["label"], mark.get("class", ""), mark.get("until", 0))
            self._generation = desired.get("generation", UNKNOWN)
        self._follow_restores(desired)

    def _obey(self, told: Mapping[str, Any] | None) -> None:
        """Take over what the agent may use. What makes no sense changes nothing, and is told."""
        try:
            changed = self._limits.tell(told)
        except ValueError as error:
            self._obeyed.now("settings", str(error), level=WARNING)
            return
        if self._limits.message:
            self._obeyed.now("settings", self._limits.message, level=WARNING)
        else:
            self._obeyed.over("settings", "as the policies say")
        limits = self._limits.limits
        self._old_bytes.budget_bytes = limits.cache_bytes
        with self._lock:
            running = [each.source.settings for each in self._sources.values() if each.source is not None]
        for settings in running:
            settings.spool_limit_bytes = limits.spool_limit_bytes
            settings.big_file_bytes_a_second = limits.big_file_bytes_a_second
        if changed:
            log("the policies say what this agent may use", self._clock, **shown(limits))

    def _follow_restores(self, desired: Mapping[str, Any]) -> None:
        if self._restores is not None and "restores" in desired:
            own = [path for each in desired.get("sources", ()) for path in each.get("paths", ())]
            self._restores.follow(desired["restores"], own)

    def _begin(self, stream: str, wanted: dict[str, Any], reason: str) -> Protected:
        own = [os.fsencode(self._home / name) for name in OWN_DIRECTORIES]
        try:
            if wanted.get("kind", "files") != "files":
                return Protected(wanted, None, f"this agent does not protect sources of kind {wanted['kind']} yet")
            scope = Scope(wanted["paths"], wanted.get("exclude", ()), own)
            self._refuse_shared(scope)
        except BcsError as error:
            return Protected(wanted, None, error.message)
        directory = self._directory / stream
        settings = Settings(
            stream, self._host, self._writer, directory, scope, self._connect, self._clock, self._site_clock,
            spool_limit_bytes=self._limits.limits.spool_limit_bytes, old_bytes=self._old_bytes, spools=self._spools,
            traffic=self._traffic.setdefault(stream, Traffic()),
            crash_points=wanted_in(wanted),
            memory=self._memory, lane=self._lane,
            big_file_bytes_a_second=self._limits.limits.big_file_bytes_a_second,
            objective_seconds=wanted.get("rpo_seconds"),
        )  # fmt: skip
        source = Source(settings, reason)
        source.start()
        return Protected(wanted, source)

    def _refuse_shared(self, scope: Scope) -> None:
        """Refused when what another source protects is there too, by symbolic links: no policy shows that."""
        for other in self._sources.values():
            shared = scope.shared_with(other.source.settings.scope) if other.source is not None else None
            if shared is not None:
                mine, theirs = (os.fsdecode(path) for path in shared)
                address = other.wanted.get("address", "another source")
                raise Refused(f"{mine} leads to what {address} protects as {theirs}: data is captured once")

    def _end(self, stream: str) -> None:
        protected = self._sources.pop(stream)
        if protected.source is not None:
            protected.source.stop()
        self._old_bytes.drop(stream)
        self._spools.pop(stream, None)

    def _report(self, node: Node) -> None:
        with self._lock:
            sources = list(self._sources.items())
            generation = self._generation
        rows = []
        done: list[str] = []
        told: dict[str, dict[str, str]] = {}
        for stream, each in sources:
            rows.append(each.row(stream))
            if each.source is None:
                continue
            self._tell(each.wanted.get("address", stream), each.source.view)
            done += each.source.view.marks_done
            told.update(each.source.view.marks_told)
        body = {
            "sources": rows,
            "version": self._version,
            "settings": self._bounds(),
            "marks_done": done,
            "marks_told": {id: told[id] for id in done if id in told},
            "generation": generation,
            "clock_skew": self._site_clock.skew_microseconds,
            "usage": usage_of(self._limits, self._spools, self._old_bytes),
            "scratches": self._restores.scratches if self._restores is not None else [],
        }
        try:
            # Before the greeting this one might connect too, and would be the first to set the clock.
            tell = functools.partial(node.status, self._host, body)
            answer = self._site_clock.ask(tell) if self._greeted else tell()
        except BcsError as error:
            # The node will hear the next one; that it heard nothing is for it to say. That it wants to hear nothing
            # is only known here.
            refused = f"{error.message}: {error.hint}".rstrip(": ") if isinstance(error, Refused) else ""
            self._heard.message = refused or "does not answer"
            self._changes.now("node", self._heard.message, level=WARNING)
            return
        self._changes.now("node", "hears this host")
        self._heard.heard_at, self._heard.message = self._site_clock.now(), ""
        every = answer.get("report_seconds")
        if isinstance(every, int | float):
            self._status_seconds = min(max(every, STATUS_SECONDS), STATUS_SECONDS_MAX)
        for _, each in sources:
            if each.source is not None:
                each.source.forget_marks(done)

    def _tell(self, address: str, view: View) -> None:
        """How a source is goes into the log when it becomes so."""
        state, message = view.shown()
        failed = state == "failed"
        text = f"{state}: {message}" if failed and message else state
        self._changes.now(address, text, level=WARNING if failed else INFO)


def run(
    home: Path,
    host: str,
    where: Where,
    stopping: threading.Event,
    *,
    otherwise: Limits = USUAL,
) -> None:
    """Run the agent of `host` until `stopping` is set. Its pid is in run/agent.pid meanwhile. `otherwise` is what it
    may use until its node says more."""
    pid_path = home / "run" / "agent.pid"
    durable.make_directories(pid_path.parent)
    processes.write_pid_file(pid_path)
    restores = Restores(home, host, where.arguments())
    agent = Agent(home, host, lambda pace: HttpNode(where, pace=pace), stopping, otherwise=otherwise, restores=restores)
    if isinstance(where, Remote):
        identity = Identity(where, host, agent.site_time, SYSTEM)
        threading.Thread(target=identity.run, args=(stopping,), name="identity", daemon=True).start()
        folder = where.files.folder
        agent.certificate = lambda: certificate_in(folder, identity.message)
    try:
        with answering(socket_of(home), lambda: json.dumps(agent.state()[0]).encode()):
            agent.run()
    finally:
        if processes.read_pid(pid_path) == os.getpid():
            pid_path.unlink(missing_ok=True)
