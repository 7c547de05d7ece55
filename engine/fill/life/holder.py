"""The third holder: a process that has the supervisor's descriptor too, and does nothing but look whether others live.

When supervisor and filler are killed at once, what they held stays open here: readers of cold bytes wait, and another
supervisor is started, which takes it over. Only where FAN_PRE_ACCESS is the mechanism: behind a mount nobody can read
zeros. It is killed by the supervisor, before that lets go of what is held, and by nobody when the machine goes down.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from engine.env import processes
from engine.env.clock import SYSTEM, Clock
from engine.fill.base import LIVING, PRE_ACCESS, Place, Recipe
from engine.fill.kept import documents
from engine.fill.life import service
from engine.fill.life.starting import FILLER, HOLDER, ROLE, await_end_of, environment, living, start_supervisor

LOOK_SECONDS = 0.2
AGAIN_SECONDS = 2.0
"""Before the next supervisor is started, when the last one did not live for long."""


def hold(place: Place, held: int, guard: str, clock: Clock = SYSTEM) -> int:
    """Until the recovery has ended. Does not end on signals."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    spare_me()
    service.outlive()
    processes.write_pid_file(place.pid(HOLDER))
    alone = 0
    while service.going_down() or documents.read_state(place).state in LIVING:
        if service.going_down():
            _wait_for_the_end(clock)
        alone = alone + 1 if living(place, ROLE) is None and living(place, FILLER) is None else 0
        if alone > 1:  # one that is just handed over shows at the second look
            start_supervisor(place, held=held, guard=guard)
            clock.sleep(AGAIN_SECONDS)
        clock.sleep(LOOK_SECONDS)
        with suppress(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)  # a supervisor that it started
    return 0


def _wait_for_the_end(clock: Clock) -> NoReturn:
    """What still runs is killed, and file systems are unmounted: until the kernel stops, who reads waits."""
    service.be_quiet()
    while True:
        clock.sleep(LOOK_SECONDS)


def ensure(
    place: Place, recipe: Recipe, held: int, guard: str, known: subprocess.Popen[bytes] | None
) -> subprocess.Popen[bytes] | None:
    """In the supervisor: have one live; `known` is the one that it has started before, if any."""
    if recipe.mechanism != PRE_ACCESS or (known is not None and known.poll() is None):
        return known
    if living(place, HOLDER) is not None:
        return None  # a former supervisor's
    argv = [sys.executable, "-m", "engine.fill", "--role", HOLDER, "--place", str(place.path)]
    argv += ["--fd", str(held), "--guard", guard]
    with place.log.open("ab") as log:
        started = subprocess.Popen(
            *(argv,),
            env=environment(place),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(held,),
            start_new_session=True,
        )
    processes.write_pid_file(place.pid(HOLDER), started.pid)
    return started


def end(place: Place) -> None:
    """In the supervisor: what is held is let go of, so it must not stay open there."""
    pid = living(place, HOLDER)
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        await_end_of(place, HOLDER)
    place.pid(HOLDER).unlink(missing_ok=True)


def spare_me() -> None:
    """Not to be killed for want of memory (proc(5), oom_score_adj)."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("-1000")
