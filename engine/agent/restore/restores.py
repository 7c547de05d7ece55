"""The restores that a node has granted to this host: a process each, so that capture never waits for one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.agent.drill.drills import Drills
from engine.agent.restore import staging
from engine.agent.restore import state as restore_state
from engine.agent.restore.on_demand.trees import Trees
from engine.agent.restore.scratches import every, forget_unwanted
from engine.env import durable
from engine.env.clock import SYSTEM, Clock
from engine.model.errors import BcsError
from engine.tree.scratch import place
from engine.wire.errands import DRILL

AGAIN_SECONDS, AGAIN_SECONDS_MAX = 2.0, 60.0
"""A process that ended although its restore is open is started again after so long; each time after twice as long."""
STOP_SECONDS = 3.0
_ID_CHARS = frozenset("0123456789abcdef")


@dataclass(slots=True)
class _Running:
    process: subprocess.Popen[bytes]
    granted: dict[str, Any]
    tries: int = 0
    again_at: float = 0.0


class Restores:
    """What runs for this host. `follow` is told what is granted; `look` starts again what ended too early."""

    def __init__(self, home: Path, host: str, asking: Sequence[str], clock: Clock = SYSTEM) -> None:
        """`asking` are the arguments that say where the node is, as the agent itself was given them."""
        self._home, self._host, self._asking, self._clock = home, host, list(asking), clock
        self._running: dict[str, _Running] = {}
        self._trees = Trees(home, host, asking, clock)
        self._drills = Drills(home, host, asking)
        self._over: set[str] = set()
        self._swept = False
        self._seen: tuple[list[int], list[dict[str, Any]]] = ([], [])
        self._lock = threading.Lock()

    def follow(self, granted: Iterable[Mapping[str, Any]], protected: Iterable[str]) -> None:
        """Begin what is granted and not there yet, end what is granted no more. `protected`: this host's own paths."""
        granted, protected = list(granted), list(protected)
        self._trees.follow([each for each in granted if each.get("on_demand")], protected)
        self._drills.follow([each for each in granted if each.get("way") == DRILL], protected)
        granted = [each for each in granted if not each.get("on_demand") and each.get("way") != DRILL]
        wanted = {str(each["id"]): dict(each) for each in granted if set(str(each["id"])) <= _ID_CHARS}
        with self._lock:
            for id in [each for each in self._running if each not in wanted]:
                self._end(id)
            for id, each in wanted.items():
                if id not in self._running and id not in self._over:
                    self._begin(id, {**each, "protected": sorted(protected)})
            self._over &= set(wanted)
            self._forget(wanted)

    def look(self) -> None:
        """Take note of those that ended. Exit code 0 says that the node knows how; any other, that it is to go on."""
        self._trees.look()
        self._drills.look()
        now = self._clock.monotonic()
        with self._lock:
            for id, running in list(self._running.items()):
                code = running.process.poll()
                if code == 0:
                    del self._running[id]
                    self._over.add(id)
                elif code is not None and not running.again_at:
                    running.again_at = now + min(AGAIN_SECONDS * 2**running.tries, AGAIN_SECONDS_MAX)
                elif code is not None and now >= running.again_at:
                    self._begin(id, running.granted, running.tries + 1)

    def stop(self) -> None:
        """End all processes; their restores go on when the agent is back, drills are made again."""
        self._drills.stop()
        with self._lock:
            for running in self._running.values():
                running.process.terminate()
            for running in self._running.values():
                _ended(running.process)
            self._running.clear()

    def _begin(self, id: str, granted: dict[str, Any], tries: int = 0) -> None:
        folder = self._home / "agent" / "restores"
        durable.make_directories(folder)
        durable.replace(folder / f"{id}.job.json", json.dumps(granted).encode())
        command = [sys.executable, "-m", "engine.agent.restore.process", "restore", "--home", str(self._home)]
        command += ["--host", self._host, "--id", id, "--parent", str(os.getpid()), *self._asking]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "BCS_HOME": str(self._home)},
            start_new_session=True,  # the agent's own gives way to applications (engine.env.niceness)
        )
        self._running[id] = _Running(process, granted, tries)

    def _end(self, id: str) -> None:
        running = self._running.pop(id)
        running.process.terminate()
        _ended(running.process)

    def _forget(self, wanted: Iterable[str]) -> None:
        """What was noted of restores that nobody wants any more."""
        ids = set(wanted)
        left = {path.name.split(".")[0] for path in (self._home / "agent" / "restores").glob("*.*")} - ids
        if left or not self._swept:
            self._swept = True
            threading.Thread(target=forget, args=(self._home, left, ids), name="forget", daemon=True).start()

    @property
    def scratches(self) -> list[dict[str, Any]]:
        """What this host has in scratch; looked at when something may have changed there."""
        folder = self._home / place.FOLDER
        try:
            marks = [entry.stat().st_mtime_ns for entry in os.scandir(folder)]
        except FileNotFoundError:
            return []
        if marks != self._seen[0]:
            self._seen = (marks, every(self._home))
        return self._seen[1]


def forget(home: Path, left: Iterable[str], wanted: set[str]) -> None:
    """Take away what restores that nobody wants any more have left about, and what was noted of them."""
    folder = home / "agent" / "restores"
    for id in left:
        state = restore_state.load(folder / f"{id}.json")
        if state is not None and staging.is_one(state.before, id):
            with suppress(BcsError, OSError):
                staging.clear(state.before)
        for path in folder.glob(f"{id}.*"):
            path.unlink(missing_ok=True)
    forget_unwanted(home, wanted)


def _ended(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
