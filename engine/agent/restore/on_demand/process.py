"""Tend one tree that is filled on demand, as a process of its own: `... recovery --home H --host NAME --id ID`.

It outlives the agent that started it; one tree has one such process. Exit code 0 says that there is nothing to tend
any more; with any other the agent starts it again.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from engine.agent.restore.on_demand.making import Order
from engine.agent.restore.on_demand.tending import Tending
from engine.agent.restore.process import AGAIN, code
from engine.env import processes
from engine.fill.kept import documents
from engine.model.errors import BcsError

ROLE = "recovery"


def main() -> int:
    """Parse, tend until it has ended or SIGTERM comes."""
    parser = argparse.ArgumentParser(prog="engine.agent.restore.on_demand.process", description=__doc__)
    parser.add_argument("role", choices=[ROLE], help="what this process is, for those who look at process lists")
    parser.add_argument("--home", type=Path, required=True, help="the agent's home")
    parser.add_argument("--host", required=True, help="the name by which policies call this host")
    parser.add_argument("--id", required=True, help="the restore that was granted")
    parser.add_argument("--socket", type=Path, help="the node's socket; by default run/node.sock below the home")
    parser.add_argument("--node", action="append", default=[], help="a node's URL, https://host:port; several, if any")
    arguments = parser.parse_args()
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    os.umask(0o022)  # directories that nobody described are made as an administrator would make them
    home: Path = arguments.home
    folder = folder_of(home)
    lock = os.open(folder / f"{arguments.id}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return AGAIN  # another one tends it
    processes.write_pid_file(folder / f"{arguments.id}.pid")
    socket = str(arguments.socket) if arguments.socket else ""
    told = {"host": arguments.host, "socket": socket, "nodes": arguments.node}
    try:
        order = _order(folder / f"{arguments.id}.job.json", home, arguments.id, told)
        place = documents.place_of(home, arguments.id)
        return 0 if Tending(home, place, order, told, stopping).until_the_end() else AGAIN
    except (BcsError, OSError, ValueError, KeyError) as error:
        print(f"recovery {arguments.id}: {error}", file=sys.stderr, flush=True)
        return AGAIN


def folder_of(home: Path) -> Path:
    """Where it is noted what was granted, and who tends it: ID.job.json, ID.pid, ID.lock."""
    return home / "agent" / "trees"


def _order(path: Path, home: Path, id: str, told: dict[str, Any]) -> Order | None:
    """What was granted; None when the node has taken it back, or it is over."""
    try:
        job = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    protected = [os.fsencode(each) for each in job.get("protected", ())]
    return Order(id, job, told, [os.fsencode(home), *code()], protected)


if __name__ == "__main__":
    sys.exit(main())
