"""The plug of what recovers on demand: its processes go at once, as in a power cut, and their mounts go too.

Each of them starts the others again when it sees them die, within a tenth of a second. So none dies before all of them
stand still, however slow the machine is that looks for them.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from engine.env import processes
from engine.fill.kept import documents

WAIT_SECONDS = 120.0
TENDING = b"engine.agent.restore.on_demand.process"
STILL_SECONDS = 5.0
"""Who does not stand still by then waits for one who does, in the kernel: he starts nobody."""


def processes_of(home: Path, id: str = "") -> list[int]:
    """Supervisors, fillers, third holders and those who tend trees, of one recovery or of all of a BCS_HOME: by their
    command lines, since a pid file tells of a new one late."""
    place = os.fsencode(home / documents.RECOVERIES / id)
    tending = {TENDING, os.fsencode(home), *([id.encode()] if id else [])}
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
            if tending <= {*words} or any(word == place or word.startswith(place + b"/") for word in words):
                found.append(int(entry.name))
    return [pid for pid in found if processes.is_alive(pid)]


def pull(home: Path, id: str = "") -> None:
    """kill -9 of all of them at once; returns when they are gone. Whoever else would begin them again, such as an
    agent, is for the caller to stop before."""
    while True:
        still: set[int] = set()
        while new := set(processes_of(home, id)) - still:
            stop(new)
            still |= new
        if not still:
            return
        for pid in still:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(lambda still=still: not any(processes.is_alive(pid) for pid in still), "what fills to end")  # type: ignore[misc]


def stop(pids: set[int]) -> None:
    """SIGSTOP; returns when every thread of theirs stands still, or waits in the kernel."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    end = time.monotonic() + STILL_SECONDS
    while not all(stands_still(pid) for pid in pids) and time.monotonic() < end:
        time.sleep(0.002)


def stands_still(pid: int) -> bool:
    """Whether every thread of a process is stopped, or it has ended."""
    states = set()
    with suppress(FileNotFoundError, ProcessLookupError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):
                states.add((thread / "stat").read_bytes().rpartition(b")")[2].split()[0])
    return states <= {b"T", b"Z", b"X"}


def take_away(home: Path) -> None:
    """At the end of a test, whatever it has left: all of their processes, and what is mounted where they filled. The
    agents that would begin them again have been ended before."""
    pull(home)
    for place in documents.places(home):
        unmount(documents.read_recipe(place).dir)


def unmount(directory: str | Path) -> None:
    """All that is mounted there: covers, and mounts whose server has gone."""
    while subprocess.run(["umount", "-l", directory], capture_output=True).returncode == 0:
        pass


def only_supervisor(home: Path) -> IO[str]:
    """As if another supervised the only recovery, until what is answered is closed: who is begun waits. Nobody lives
    who does supervise it."""
    [place] = documents.places(home)
    lock = (place.path / "supervisor.lock").open("w")

    def taken() -> bool:
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        return False

    until(taken, "the last supervisor to end")
    return lock


def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < end, f"waited {WAIT_SECONDS:g} s for {what}"
        time.sleep(0.01)
