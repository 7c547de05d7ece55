"""`python -m engine.agent agent --home BCS_HOME --host NAME --node URL`: what a host's service starts.

`python -m engine.agent status --home BCS_HOME` asks the one that runs there how it is.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import sys
import threading
from pathlib import Path

from engine.agent.host.where import find
from engine.agent.limits import Limits
from engine.agent.run import run
from engine.agent.status.asking import show
from engine.env import durable
from engine.model.errors import BcsError, Failed
from engine.model.policy.agents import schedule
from engine.model.times import parse_size


def main() -> int:
    """Parse, run until SIGTERM or SIGINT, exit 0; 1 with one line on standard error when it can't run."""
    parser = argparse.ArgumentParser(prog="engine.agent", description=__doc__)
    parser.add_argument("role", choices=["agent", "status"], help="run the agent, or ask the one that runs how it is")
    parser.add_argument("--json", action="store_true", help="with status: as a JSON document")
    parser.add_argument("--home", type=Path, default=os.environ.get("BCS_HOME"), help="where the agent keeps its state")
    parser.add_argument("--host", default="localhost", help="the name by which policies call this host")
    parser.add_argument("--socket", type=Path, help="the node's socket; by default run/node.sock below the home")
    parser.add_argument("--node", action="append", default=[], help="a node's URL, https://host:port; several, if any")
    parser.add_argument("--spool-limit", default="10GiB", help="how much may wait on disk, until the node says more")
    parser.add_argument("--bandwidth", help="how fast to send, as 50MiB/s, until the node says more")
    arguments = parser.parse_args()
    if arguments.home is None:
        parser.error("name a home: --home, or BCS_HOME in the environment")
    home = arguments.home.absolute()
    if arguments.role == "status":
        return told(home, as_json=arguments.json)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    try:
        bandwidth = schedule(arguments.bandwidth) if arguments.bandwidth else ()
        otherwise = Limits(parse_size(arguments.spool_limit), bandwidth)
        where = find(home, arguments.host, arguments.socket, arguments.node)
        lock = held(home)
        run(home, arguments.host, where, stopping, otherwise=otherwise)
    except (BcsError, OSError) as error:
        print(f"agent: {error}", file=sys.stderr, flush=True)
        return error.exit_code if isinstance(error, BcsError) else 1
    os.close(lock)
    return 0


def told(home: Path, *, as_json: bool) -> int:
    """How the agent of this home is, on standard output: 0 when all is well, 1 when not or when none answers."""
    try:
        return show(home, as_json=as_json)
    except BcsError as error:
        hint = f"\n  {error.hint}" if error.hint else ""
        print(f"error: {error.message}{hint}", file=sys.stderr)
        return 1


def held(home: Path) -> int:
    """The lock of the agent's state, until the descriptor is closed or the process ends. Failed when another has it."""
    durable.make_directories(home / "agent")
    lock = os.open(home / "agent" / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise Failed(f"another agent works in {home}", hint="`bcsctl down` stops it") from None
    return lock


if __name__ == "__main__":
    sys.exit(main())
