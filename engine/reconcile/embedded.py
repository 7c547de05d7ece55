"""The embedded site's processes: starts the node of this machine, stops node and agent.

The agent is started by Ansible (engine/deploy). Where there is no systemd, or no root, both are detached processes
that live until the machine goes down; `shortcomings` says what that costs.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import engine
from engine.deploy.bundle import files_below
from engine.env import durable, processes
from engine.env.clock import SYSTEM, Clock
from engine.env.endpoint import request_json
from engine.model.errors import Failed, Unreachable
from engine.node.master_key import ensure_master_key
from engine.reconcile import units

ROOT = Path(engine.__file__).parents[1]
ROLES = ("agent", "filler", "supervisor", "node")
"""In the order in which they are stopped: who writes before who stores."""
START_SECONDS = 30.0
STOP_SECONDS = {"agent": 6.0, "filler": 2.0, "supervisor": 2.0, "node": 9.0}

# The first words after the interpreter of every process of ours: a shell that merely mentions a role is not one.
_COMMANDS = (
    *((b"-m", b"engine.agent"), (b"-m", b"bcsctl", b"serve")),
    *((b"-m", b"engine.fill"), (b"-m", b"engine.recovery.on_demand")),
)
_VERSIONED = ("engine", "bcsctl", "reports")


@dataclass(frozen=True, slots=True)
class Stopped:
    role: str
    pid: int


def node_version() -> str:
    """The program's version, `+`, and 12 digits of its sources: a changed program is another version."""
    digest = hashlib.sha256()
    for part in _VERSIONED:
        for path in files_below(ROOT / part):
            if path.suffix in (".py", ".sql", ".j2"):
                digest.update(f"{path.relative_to(ROOT)}\0".encode())
                digest.update(path.read_bytes())
    return f"{importlib.metadata.version('bcsctl')}+{digest.hexdigest()[:12]}"


def make_home(home: Path) -> None:
    """The directories of the embedded site, for its owner alone."""
    for directory in (home, home / "run", home / "node", home / "agent"):
        durable.make_directories(directory, mode=0o700)


def health(home: Path, timeout_seconds: float = 5.0) -> dict[str, Any] | None:
    """What the node says of itself; None when nobody answers."""
    try:
        return request_json(home / "run" / "node.sock", "GET", "/v1/health", timeout_seconds=timeout_seconds)
    except Unreachable:
        return None


def node_pid(home: Path) -> int | None:
    """The node's process, None when it does not live."""
    return _living(home, "node")


def agent_pid(home: Path) -> int | None:
    """The agent's process, None when it does not live."""
    return _living(home, "agent")


def started_version(pid: int, variable: str) -> str:
    """The version in a process's environment, empty when it names none."""
    try:
        words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return ""
    prefix = f"{variable}=".encode()
    return next((word[len(prefix) :].decode() for word in words if word.startswith(prefix)), "")


def start_node(home: Path, *, clock: Clock = SYSTEM, on_start: Callable[[], None] = lambda: None) -> bool:
    """Have the node of this program's version run and answer; False when it did already. `on_start` is told before it
    is started.

    A node of another version is stopped first. Raises Failed when it does not come up, with what it said last.
    """
    make_home(home)
    with _starting(home):
        version = node_version()
        pid = node_pid(home)
        if pid is not None and started_version(pid, "BCS_NODE_VERSION") == version and health(home):
            return False
        on_start()
        ensure_master_key(home)
        if pid is not None:
            processes.stop(pid, "node", home, STOP_SECONDS["node"])
        log = home / "node" / "log"
        log_begins = log.stat().st_size if log.exists() else 0
        argv = [sys.executable, "-m", "bcsctl", "serve", "--role", "node"]
        environment = _node_environment(home, version)
        if units.wanted():
            units.start_node(home, argv, environment)
        else:
            units.remove("node", home)
            pid = processes.spawn_detached(argv, environment, log, home)
            processes.write_pid_file(home / "run" / "node.pid", pid)
        _await_answer(home, log, log_begins, clock)
        return True


def down(home: Path) -> list[Stopped]:
    """Stop the agent, then the node; what was stopped. The history stays. Nothing of ours is alive afterwards."""
    found = [(role, pid) for role in ROLES for pid in _of_role(home, role)]
    stopped: list[Stopped] = []
    for role in ROLES:
        units.remove(role, home)
        for pid in sorted({pid for other, pid in found if other == role} | set(_of_role(home, role))):
            if processes.stop(pid, role, home, STOP_SECONDS[role]) or (role, pid) in found:
                stopped.append(Stopped(role, pid))
        (home / "run" / f"{role}.pid").unlink(missing_ok=True)
    (home / "run" / "node.sock").unlink(missing_ok=True)
    return stopped


def shortcomings() -> list[str]:
    """What this machine or this user can't give, a sentence each; empty when nothing is lost."""
    lost = []
    if not processes.has_systemd():
        lost.append("not started at boot: there is no systemd; run `bcsctl apply` after a reboot")
    elif not processes.is_root():
        lost.append("not started at boot: only root can have it started by systemd")
    if not processes.is_root():
        lost.append("inotify instead of fanotify, and files of other owners can't be restored as theirs: not root")
    return lost


def _node_environment(home: Path, version: str) -> dict[str, str]:
    """All that a node needs of ours: where things are, and the settings."""
    kept = {name: value for name, value in os.environ.items() if name.startswith("BCS_") or name in ("HOME", "TMPDIR")}
    return {
        "HOME": "/",
        **kept,
        "BCS_HOME": str(home),
        "BCS_NODE_VERSION": version,
        "PATH": os.environ.get("PATH") or os.defpath,
        "PYTHONPATH": str(ROOT),
        "LANG": "C.UTF-8",
    }


def _await_answer(home: Path, log: Path, log_begins: int, clock: Clock) -> None:
    deadline = clock.monotonic() + START_SECONDS
    while health(home, timeout_seconds=2.0) is None:
        ended = not units.wanted() and node_pid(home) is None
        if ended or clock.monotonic() > deadline:
            what = "ended at once" if ended else f"did not answer within {START_SECONDS:.0f} s"
            raise Failed(f"the node {what}: {_last_line(log, log_begins)}", hint=f"read {log}")
        clock.sleep(0.05)


def _last_line(log: Path, begins: int) -> str:
    try:
        with log.open("rb") as file:
            file.seek(begins)
            said = file.read().decode("utf-8", "replace").strip().splitlines()
    except OSError:
        said = []
    return said[-1].strip() if said else "it said nothing"


def _living(home: Path, role: str) -> int | None:
    pid = processes.read_pid(home / "run" / f"{role}.pid")
    if pid is not None and processes.is_ours(pid, role, home):
        return pid
    return next(_of_role(home, role), None)


def _of_role(home: Path, role: str) -> Iterator[int]:
    """Our processes of this role and home, found by looking at all: a pid file may be lost or behind."""
    word = os.fsencode(role)
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            words = Path(entry.path, "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        ours = any(tuple(words[1 : 1 + len(command)]) == command for command in _COMMANDS) and word in words
        if ours and processes.is_ours(int(entry.name), role, home):
            yield int(entry.name)


@contextmanager
def _starting(home: Path) -> Iterator[None]:
    """One start at a time: of two applies the second finds the first one's node."""
    with (home / "run" / "starting.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
