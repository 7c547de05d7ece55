"""Make one drill on this host, as a process of its own: `... drill --home H --host NAME --id ID`.

It tells the node all it finds and takes away all it made. What one that was killed has left, the next one removes.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from pathlib import Path

from engine.agent.drill.client import DrillClient
from engine.agent.drill.rehearsal import rehearse
from engine.agent.drill.scene import Drill, Scene
from engine.agent.host.where import find
from engine.agent.restore.client import Stopped
from engine.agent.restore.process import alone, code
from engine.env import durable
from engine.env.niceness import NICE_AT_REST, give_way
from engine.env.processes import end_with
from engine.env.randomness import token_hex
from engine.fill.life import rehearsed
from engine.model.errors import BcsError, Failed

ROLE = "drill"
PREFIX = "drill-"
NOTED = "place"
RUN_BYTES = 4
SILENT_SECONDS = 60.0
"""A node that does not answer for so long has given the drill up."""


def folder_of(home: Path) -> Path:
    """Where drills on this host are noted, and made unless the policy names a directory: no source captures it."""
    return home / "agent" / "drills"


def main() -> int:
    """Parse, make it, end with 0: the node knows what came of it, or does not want to."""
    parser = argparse.ArgumentParser(prog="engine.agent.drill.process", description=__doc__)
    parser.add_argument("role", choices=[ROLE], help="what this process is, for those who look at process lists")
    parser.add_argument("--home", type=Path, required=True, help="the agent's home")
    parser.add_argument("--host", required=True, help="the name by which policies call this host")
    parser.add_argument("--id", required=True, help="the drill that was asked for")
    parser.add_argument("--socket", type=Path, help="the node's socket; by default run/node.sock below the home")
    parser.add_argument("--node", action="append", default=[], help="a node's URL, https://host:port; several, if any")
    parser.add_argument("--parent", type=int, default=0, help="the agent, with which this process ends; none for 0")
    arguments = parser.parse_args(namespace=argparse.Namespace(run=token_hex(RUN_BYTES)))
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    if arguments.parent and not end_with(arguments.parent):
        return 1
    os.umask(0o022)
    os.nice(NICE_AT_REST)
    give_way()
    home: Path = arguments.home
    folder = folder_of(home)
    durable.make_directories(folder, mode=0o700)
    try:
        if not alone(folder / "lock", stopping):
            return 0
        drill, scene = _read(home, arguments, stopping)
        remove_left(folder)
        _note(folder, scene.place)
        rehearse(drill, scene)
        (folder / NOTED).unlink(missing_ok=True)
    except Stopped:
        return 0
    except (BcsError, OSError, ValueError, KeyError, TypeError) as error:
        print(f"drill {arguments.id}: {error}", file=sys.stderr, flush=True)
        _tell(home, arguments, stopping, error)
    return 0


def _read(home: Path, arguments: argparse.Namespace, stopping: threading.Event) -> tuple[Drill, Scene]:
    asked = json.loads((folder_of(home) / f"{arguments.id}.job.json").read_bytes())
    how = dict(asked["how"])
    below = str(how.get("scratch") or "")
    where = find(home, arguments.host, arguments.socket, arguments.node)
    silent = _Silence(stopping)

    def client(source: str) -> DrillClient:
        return DrillClient(where.endpoint, arguments.id, source, arguments.host, arguments.run, stopping, silent.heard)

    scene = Scene(
        (Path(below) if below else folder_of(home)) / f"{PREFIX}{arguments.id}",
        client,
        stopping,
        own=[os.fsencode(home), *code()] if below else [],
        protected=[os.fsencode(path) for path in asked.get("protected", ())] if below else [],
        told={
            **{"home": str(home), "host": arguments.host, "nodes": arguments.node},
            **{"socket": str(arguments.socket or ""), "drill": arguments.id, "run": arguments.run},
        },
    )
    return Drill(arguments.id, how), scene


class _Silence:
    """Ends the drill when its node has not answered for too long. Safe for several threads."""

    def __init__(self, stopping: threading.Event) -> None:
        self._stopping, self._lock = stopping, threading.Lock()
        self._timer: threading.Timer | None = None

    def heard(self, why: str) -> None:
        """Why nothing goes on; empty once the node answers."""
        with self._lock:
            if why and self._timer is None:
                self._timer = threading.Timer(SILENT_SECONDS, self._stopping.set)
                self._timer.daemon = True
                self._timer.start()
            elif not why and self._timer is not None:
                self._timer.cancel()
                self._timer = None


def _tell(home: Path, arguments: argparse.Namespace, stopping: threading.Event, error: Exception) -> None:
    """That it broke off, and why: as far as the node wants to know."""
    told = error if isinstance(error, BcsError) else Failed(f"the drill broke off: {error}")
    where = find(home, arguments.host, arguments.socket, arguments.node)
    heard = _Silence(stopping).heard
    client = DrillClient(where.endpoint, arguments.id, "", arguments.host, arguments.run, stopping, heard)
    try:
        client.progress(told.as_json())
    except BcsError as unheard:
        print(f"drill {arguments.id}: {unheard.message}", file=sys.stderr, flush=True)


def _note(folder: Path, place: Path) -> None:
    """Where it is made, before it is there: so that nothing is left which nobody knows of."""
    durable.replace(folder / NOTED, os.fsencode(place))


def remove_left(folder: Path) -> None:
    """Remove what drills that were killed have left. None lives: we have the lock."""
    left = set(folder.glob(f"{PREFIX}*"))
    try:
        noted = Path(os.fsdecode((folder / NOTED).read_bytes()))
    except FileNotFoundError:
        noted = folder
    if noted.name.startswith(PREFIX):
        left.add(noted)
    for each in sorted(left):
        rehearsed.remove(each)
    (folder / NOTED).unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
