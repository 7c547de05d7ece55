"""The drills that a node asks this host for: a process each, one after the other, so that capture never waits."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import engine
from engine.agent.drill.process import ROLE, folder_of, remove_left
from engine.env import durable
from engine.env.clock import SYSTEM, Clock
from engine.fill.life import at_boot
from engine.model.errors import BcsError

STOP_SECONDS = 3.0
GRACE_SECONDS = 5.0
"""A process that was started has the lock within this time."""
_ID_CHARS = frozenset("0123456789abcdef")


@dataclass(slots=True)
class _Running:
    asked: Mapping[str, Any]
    process: subprocess.Popen[bytes] | None
    """None where systemd has started it, as `unit`."""
    unit: str
    begun_at: float
    again: bool = False


class Drills:
    """What is drilled on this host. `follow` is told what the node asks for; each is begun once, and ended when it is
    asked for no more."""

    def __init__(self, home: Path, host: str, asking: Sequence[str], clock: Clock = SYSTEM) -> None:
        """`asking` are the arguments that say where the node is, as the agent itself was given them."""
        self._home, self._host, self._asking, self._clock = home, host, list(asking), clock
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
        """Have the node hear of one that was killed: another process that asks for it ends it. Called often."""
        now = self._clock.monotonic()
        with self._lock:
            for id, running in list(self._begun.items()):
                if not running.again and now - running.begun_at > GRACE_SECONDS and not _lives(folder_of(self._home)):
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
        now, unit = self._clock.monotonic(), f"bcs-drill-{id}"
        if at_boot.possible() and _as_unit(unit, command, variables):
            return _Running(asked, None, unit, now)
        command += ["--parent", str(os.getpid())]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env={**os.environ, **variables}, cwd="/")
        return _Running(asked, process, "", now)

    def _end(self, running: _Running) -> None:
        process = running.process
        if process is None:
            _systemd(["systemctl", "stop", "--no-block", f"{running.unit}.service"])
        elif process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _as_unit(unit: str, command: Sequence[str], variables: Mapping[str, str]) -> bool:
    """Whether systemd has started it, beside the agent: what confines that, which may make no namespaces, would keep
    commands from having their own. It gives way to the host's own work."""
    properties = ["CPUWeight=20", "IOWeight=20", "NoNewPrivileges=yes", "OOMScoreAdjust=800", "KillMode=mixed"]
    argv = ["systemd-run", "--quiet", "--collect", f"--unit={unit}", *(f"--property={each}" for each in properties)]
    return _systemd([*argv, *(f"--setenv={name}={value}" for name, value in variables.items()), *command])


def _systemd(argv: Sequence[str]) -> bool:
    try:
        return subprocess.run(argv, capture_output=True, check=False, timeout=STOP_SECONDS).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _lives(folder: Path) -> bool:
    """Whether a drill is made on this host now: its process holds the lock."""
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


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
