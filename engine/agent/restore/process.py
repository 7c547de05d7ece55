"""Receive one restore, as a process that the agent starts: `... restore --home H --host NAME --id ID`.

Exit code 0 says that the node knows how it ended; with any other the agent starts it again as long as it is granted.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import engine
from engine.agent.host.where import find
from engine.agent.restore.client import RestoreClient, Stopped
from engine.agent.restore.in_place import InPlace
from engine.agent.restore.onto import Look, Onto
from engine.agent.restore.restoring import Job, Run, Untold, receive
from engine.agent.restore.scratches import Check, Discard, Promote, ToScratch
from engine.drivers.files import within
from engine.env.processes import end_with
from engine.model.errors import BcsError, UsageError
from engine.wire import errands
from engine.wire.errands import where_of

AGAIN = 75
"""The exit code that asks to be started again (EX_TEMPFAIL, sysexits.h)."""
LOOK_SECONDS = 0.2
RUNS: Mapping[str, type[Run]] = {
    errands.RESTORE: Onto,
    errands.LOOK: Look,
    errands.SCRATCH: ToScratch,
    errands.CHECK: Check,
    errands.PROMOTE: Promote,
    errands.DISCARD: Discard,
}
"""What carries out each errand."""


def main() -> int:
    """Parse, receive until it is done or SIGTERM comes."""
    parser = argparse.ArgumentParser(prog="engine.agent.restore.process", description=__doc__)
    parser.add_argument("role", choices=["restore"], help="what this process is, for those who look at process lists")
    parser.add_argument("--home", type=Path, required=True, help="the agent's home")
    parser.add_argument("--host", required=True, help="the name by which policies call this host")
    parser.add_argument("--id", required=True, help="the restore that was granted")
    parser.add_argument("--socket", type=Path, help="the node's socket; by default run/node.sock below the home")
    parser.add_argument("--node", action="append", default=[], help="a node's URL, https://host:port; several, if any")
    parser.add_argument("--parent", type=int, default=os.getppid(), help="the agent, with which this process ends")
    arguments = parser.parse_args()
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    if not end_with(arguments.parent):
        return AGAIN
    os.umask(0o022)  # directories that nobody described are made as an administrator would make them
    home: Path = arguments.home
    folder = home / "agent" / "restores"
    try:
        if not alone(folder / f"{arguments.id}.lock", stopping):
            return AGAIN
        granted = json.loads((folder / f"{arguments.id}.job.json").read_bytes())
        job = job_of(granted, home, arguments.id)
        where = find(home, arguments.host, arguments.socket, arguments.node)
        client = RestoreClient(where.endpoint, arguments.id, arguments.host, stopping)
        receive(client, job, stopping, run=run_of(granted))
    except Stopped:
        return AGAIN if stopping.is_set() else 0
    except (BcsError, OSError, ValueError) as error:
        print(f"restore {arguments.id}: {error}", file=sys.stderr, flush=True)
        # Any other error of ours was told to the node before it was raised here.
        return 0 if isinstance(error, BcsError) and not isinstance(error, Untold) else AGAIN
    return 0


def job_of(granted: Mapping[str, Any], home: Path, id: str) -> Job:
    """What a grant asks for."""
    how = granted.get("how", {})
    target = os.fsencode(where_of(granted))
    protected = [os.fsencode(path) for path in granted.get("protected", ())]
    if how.get("into_protected"):
        protected = []
    elif how.get("own_place"):  # it comes back to where it came from
        real = os.path.realpath(target)
        protected = [path for path in protected if not within(real, os.path.realpath(path))]
    return Job(
        target,
        bool(granted.get("verify")),
        own=[os.fsencode(home), *code()],
        protected=protected,
        state=home / "agent" / "restores" / f"{id}.json",
        name=id,
        home=home,
        how=how,
    )


def run_of(granted: Mapping[str, Any]) -> type[Run]:
    """What carries out a grant. UsageError for an errand that this version does not know."""
    if granted.get("in_place"):
        return InPlace
    way = str(granted.get("way", errands.RESTORE))
    if way not in RUNS:
        raise UsageError(f"this agent does not know how to '{way[:40]}'", hint="`bcsctl apply` brings it up to date")
    return RUNS[way]


def code() -> list[bytes]:
    """Where this program and its Python are read from: a module that appeared there would run as we do."""
    ours = Path(engine.__file__).resolve().parents[1]
    versions = ours.parents[1]
    # Where we happen to have been started is among them when we were started by hand.
    found = [ours, *(Path(each) for each in sys.path if each not in ("", "/", os.getcwd()))]
    found += [versions] if (versions / "current").is_symlink() else []
    return [os.fsencode(each) for each in found if each.is_dir()]


def alone(path: Path, stopping: threading.Event) -> bool:
    """Wait until no other process works on this restore, one of an agent that was killed, say; False to stop."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if stopping.wait(LOOK_SECONDS):
                return False


if __name__ == "__main__":
    sys.exit(main())
