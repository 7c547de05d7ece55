"""The drills that a node asks this host for: a process each, one after the other, so that capture never waits."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import engine
from engine.agent.drill.process import ROLE, folder_of, remove_left
from engine.env import durable
from engine.fill.life import at_boot
from engine.model.errors import BcsError

STOP_SECONDS = 3.0
_ID_CHARS = frozenset("0123456789abcdef")


@dataclass(slots=True)
class _Running:
    process: subprocess.Popen[bytes]
    unit: str = ""
    asked: Mapping[str, Any] = field(default_factory=dict)
    again: bool = False


class Drills:
    """What is drilled on this host. `follow` is told what the node asks for; each is begun once, and ended when it is
    asked for no more."""

    def __init__(self, home: Path, host: str, asking: Sequence[str]) -> None:
        """`asking` are the arguments that say where the node is, as the agent itself was given them."""
        self._home, self._host, self._asking = home, host, list(asking)
        self._begun: dict[str, _Running] = {}
        self._swept = False
        self._lock = threading.Lock()

    def follow(self, asked: Iterable[Mapping[str, Any]], protected: Iterable[str]) -> None:
        """Begin what is asked for and was not begun, end what is asked for no more. `protected`: this host's paths."""
        wanted = {str(each["id"]): dict(each) for each in asked if set(str(each["id"])) <= _ID_CHARS}
        if not self._swept:
            self._swept = True
            threading.Thread(target=sweep, args=(folder_of(self._home),), name="sweep-drills", daemon=True).start()
        with self._lock:
            for id in [each for each in self._begun if each not in wanted]:
                self._end(self._begun.pop(id))
                (folder_of(self._home) / f"{id}.job.json").unlink(missing_ok=True)
            for id, each in wanted.items():
                if id not in self._begun:
                    self._begun[id] = self._begin(id, {**each, "protected": sorted(protected)})

    def look(self) -> None:
        """Have the node hear of one that was killed: another process that asks for it ends it."""
        with self._lock:
            for id, running in list(self._begun.items()):
                if running.process.poll() and not running.again:
                    self._begun[id] = self._begin(id, running.asked)
                    self._begun[id].again = True

    def stop(self) -> None:
        """End all: a drill that is cut off is made again."""
        with self._lock:
            for running in self._begun.values():
                self._end(running)
            self._begun.clear()

    def _begin(self, id: str, asked: Mapping[str, Any]) -> _Running:
        folder = folder_of(self._home)
        durable.make_directories(folder, mode=0o700)
        durable.replace(folder / f"{id}.job.json", json.dumps(asked).encode())
        command = [sys.executable, "-m", "engine.agent.drill.process", ROLE, "--home", str(self._home)]
        command += ["--host", self._host, "--id", id, *self._asking]
        variables = {"BCS_HOME": str(self._home), "PYTHONPATH": _our_path()}
        unit = f"bcs-drill-{id}" if at_boot.possible() else ""
        if unit:
            # What confines the agent, which may make no namespaces, would keep the commands from having their own.
            properties = ["CPUWeight=20", "IOWeight=20", "NoNewPrivileges=yes", "OOMScoreAdjust=800"]
            argv = ["systemd-run", "--quiet", "--collect", "--wait", f"--unit={unit}", "--property=KillMode=mixed"]
            argv += [f"--property={each}" for each in properties]
            command = [*argv, *(f"--setenv={name}={value}" for name, value in variables.items()), *command]
        else:
            command += ["--parent", str(os.getpid())]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env={**os.environ, **variables}, cwd="/")
        return _Running(process, unit, asked)

    def _end(self, running: _Running) -> None:
        if running.process.poll() is not None:
            return
        if running.unit:
            with suppress(OSError):
                stop = ["systemctl", "stop", "--no-block", f"{running.unit}.service"]
                subprocess.run(stop, capture_output=True, check=False, timeout=STOP_SECONDS)
        running.process.terminate()
        try:
            running.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            running.process.kill()
            running.process.wait()


def sweep(folder: Path) -> None:
    """Remove what drills that were killed have left, unless one runs now."""
    if not (folder / "lock").exists():
        return
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        remove_left(folder)
    except (BcsError, OSError):
        pass  # one runs, or something is in the way: the next drill looks again
    finally:
        os.close(lock)


def _our_path() -> str:
    """Where this program and what it imports are read from."""
    ours = str(Path(engine.__file__).resolve().parents[1])
    return os.pathsep.join([ours, *(each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each)])
