"""The trees that a node has this host fill on demand: a process each, which outlives the agent."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import engine
from engine.agent.restore.on_demand.process import ROLE, folder_of
from engine.agent.restore.on_demand.where import MODULE
from engine.env import durable, processes
from engine.env.clock import SYSTEM, Clock
from engine.fill.kept import documents
from engine.fill.life import at_boot, recoveries
from engine.model.errors import BcsError

AGAIN_SECONDS = 2.0
_ID_CHARS = frozenset("0123456789abcdef")


class Trees:
    """What is tended on this host. `follow` is told what is granted, `look` starts whoever has died: any thread."""

    def __init__(self, home: Path, host: str, asking: Sequence[str], clock: Clock = SYSTEM) -> None:
        """`asking` are the arguments that say where the node is, as the agent itself was given them."""
        self._home, self._host, self._asking, self._clock = home, host, list(asking), clock
        self._folder = folder_of(home)
        self._looked_at = -AGAIN_SECONDS
        self._lock = threading.Lock()
        self._wanted: set[str] | None = None
        """None before the node was heard."""

    def follow(self, granted: Iterable[Mapping[str, Any]], protected: Iterable[str]) -> None:
        """Note what is granted, and have it tended. `protected`: this host's own paths."""
        jobs = {str(each["id"]): dict(each) for each in granted if set(str(each["id"])) <= _ID_CHARS}
        with self._lock:
            self._wanted = set(jobs)
            for id, job in jobs.items():
                path = self._folder / f"{id}.job.json"
                if not path.exists():
                    durable.make_directories(self._folder)
                    durable.replace(path, json.dumps({**job, "protected": sorted(protected)}).encode())
            self._look()

    def look(self) -> None:
        """Start whoever tends what is granted, or still stands here, and does not live. Called often."""
        with self._lock:
            if self._clock.monotonic() - self._looked_at >= AGAIN_SECONDS:
                self._look()

    def _look(self) -> None:
        self._looked_at = self._clock.monotonic()
        standing = self._standing()
        for id in sorted((self._wanted or set()) | standing):
            if not self._tended(id):
                self._start(id)
        if self._wanted is not None:
            self._forget(self._wanted | standing)

    def _standing(self) -> set[str]:
        """The ids of trees that need us: from before this agent started, say. Old ones that have ended are cleared."""
        found = set()
        for place in documents.places(self._home):
            try:
                each = recoveries.look(place)
            except (BcsError, OSError):
                continue  # it says so to who asks for it
            if each.recipe.module != MODULE:
                continue
            if each.living:
                found.add(each.recipe.id)
            elif self._clock.now() - each.state.at > recoveries.KEPT:
                shutil.rmtree(place.path, ignore_errors=True)
        return found

    def _tended(self, id: str) -> bool:
        try:
            pid = processes.read_pid(self._folder / f"{id}.pid")
        except BcsError:
            return False
        return pid is not None and processes.is_ours(pid, ROLE, self._home)

    def _start(self, id: str) -> None:
        """As a service of its own where systemd is: what confines the agent would confine the tree, and its end would
        end who tends it."""
        durable.make_directories(self._folder)
        command = [sys.executable, "-m", "engine.agent.restore.on_demand.process", ROLE, "--home", str(self._home)]
        command += ["--host", self._host, "--id", id, *self._asking]
        variables = {"BCS_HOME": str(self._home), "PYTHONPATH": _our_path(), "LANG": "C.UTF-8"}
        if at_boot.possible() and _as_service(f"bcs-tree-{id}", command, variables):
            return
        log = self._folder / f"{id}.log"
        environment = {**os.environ, **variables}
        with suppress(BcsError):
            processes.spawn_detached(command, environment, log, Path("/"))

    def _forget(self, wanted: set[str]) -> None:
        """What was noted of trees that nobody wants any more."""
        for path in self._folder.glob("*.*"):
            id = path.name.split(".")[0]
            if id not in wanted and not self._tended(id):
                path.unlink(missing_ok=True)


def _as_service(unit: str, command: Sequence[str], variables: Mapping[str, str]) -> bool:
    """Whether systemd has started it: a unit that is there only as long as the process, systemd-run(1)."""
    argv = ["systemd-run", "--quiet", "--collect", f"--unit={unit}", "--property=KillMode=process"]
    argv += [f"--setenv={name}={value}" for name, value in variables.items()]
    try:
        return subprocess.run([*argv, *command], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _our_path() -> str:
    """Where this program and what it imports are read from."""
    ours = str(Path(engine.__file__).resolve().parents[1])
    return os.pathsep.join([ours, *(each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each)])
