"""The supervisor: makes what keeps readers of cold bytes waiting, holds it, and starts the filler again when it dies.

It does as little as it can, so that nothing can go wrong with it: as long as it lives, a dead filler means that readers
wait, and never that they read zeros. It does not end on signals: `recover cancel` and `recover finish` end it.
"""

from __future__ import annotations

import fcntl
import os
import select
import shutil
import signal
import subprocess
import sys
import traceback
from contextlib import suppress

from engine.env import processes
from engine.env.clock import SYSTEM, Clock
from engine.fill.base import CANCELLED, ENDED, FAILED, LIVING, PREPARING, MechanismModule, Place, Recipe
from engine.fill.kept import documents
from engine.fill.kept.documents import State
from engine.fill.life import at_boot, holder, service
from engine.fill.life.guarding import life_of
from engine.fill.life.starting import (
    FILLER,
    NEVER_CAME_UP,
    ROLE,
    WHOLE,
    WITHDRAWN,
    await_end_of,
    environment,
    living,
    module_of,
)
from engine.model.errors import BcsError

BACK_OFF_SECONDS = (0.0, 0.05, 0.2, 0.5, 1.0, 2.0)
"""Before the next filler, by how many have died soon after their start."""
SOON_SECONDS = 5.0
LOOK_MILLISECONDS = 1000
FORMER_SECONDS = 2.0


def supervise(place: Place, held: int | None = None, guard: str = "", clock: Clock = SYSTEM) -> int:
    """Until the recovery has ended; the exit code. `held` and `guard` are taken over from one that died."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    holder.spare_me()
    with (place.path / "supervisor.lock").open("w") as only:
        if not _alone(only.fileno(), wait=held is None):
            return 0  # it has what we were given
        state = documents.read_state(place).state
        if state not in LIVING:
            return 0
        if held is None:
            held, guard = service.kept(place) or (None, guard)
        return _supervise(place, held, guard, state == PREPARING, clock)


def _alone(fd: int, wait: bool) -> bool:
    """One supervises at a time. Who was given what is held has it from one who lives if he is not the only one; who
    was not is there for when the others end."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def _supervise(place: Place, held: int | None, guard: str, fresh: bool, clock: Clock) -> int:
    processes.write_pid_file(place.pid(ROLE))
    recipe = documents.read_recipe(place)
    module = module_of(recipe)
    try:
        if held is None:
            if fresh:
                at_boot.install(recipe.dir, recipe.id)
            else:
                module.cover(place, recipe)
            holder.end(place)
            held = module.hold(place, recipe)
            guard = life_of(os.getpid())
            service.keep(place, held, guard)
        else:
            _end_former(place)
            module.orphaned(place, recipe, held)
    except (OSError, BcsError) as error:
        traceback.print_exc()
        if fresh:
            _failed(place, error)
            _clear(place, recipe)
        return service.FAILED_AS_TOLD
    os.set_inheritable(held, True)
    return _keep_filling(place, recipe, module, held, guard, clock)


def _end_former(place: Place) -> None:
    """A filler whose supervisor has died ends by itself, at once; there are never two."""
    pid = living(place, FILLER)
    if pid is not None and not await_end_of(place, FILLER, FORMER_SECONDS):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        await_end_of(place, FILLER)


def _keep_filling(place: Place, recipe: Recipe, module: MechanismModule, held: int, guard: str, clock: Clock) -> int:
    deaths = 0
    third: subprocess.Popen[bytes] | None = None
    while True:
        began = clock.monotonic()
        third = holder.ensure(place, recipe, held, guard, third)
        filler = _start_filler(place, recipe, held, guard)
        while not _ended(filler):
            third = holder.ensure(place, recipe, held, guard, third)
        code = filler.wait()
        if code in (WHOLE, WITHDRAWN, NEVER_CAME_UP):
            holder.end(place)
            service.let_go(place)
        if code in (WHOLE, WITHDRAWN):
            module.let_go(place, recipe, held)
            _open_at_boot(recipe)
            if code == WITHDRAWN:
                _clear(place, recipe)
            _end(place, CANCELLED if code == WITHDRAWN else ENDED)
            return 0
        if code == NEVER_CAME_UP:
            module.let_go(place, recipe, held)
            _clear(place, recipe)
            return service.FAILED_AS_TOLD
        module.orphaned(place, recipe, held)
        deaths = deaths + 1 if clock.monotonic() - began < SOON_SECONDS else 0
        clock.sleep(BACK_OFF_SECONDS[min(deaths, len(BACK_OFF_SECONDS) - 1)])


def _start_filler(place: Place, recipe: Recipe, held: int, guard: str) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", recipe.module, "--role", FILLER, "--place", str(place.path)]
    argv += ["--fd", str(held), "--guard", guard, "--parent", str(os.getpid())]
    with place.log.open("ab") as log:
        return subprocess.Popen(
            *(argv,),
            env=environment(place),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(held,),
        )


def _ended(filler: subprocess.Popen[bytes]) -> bool:
    """Wait for its end for a while; the third holder is looked after meanwhile."""
    fd = os.pidfd_open(filler.pid)
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        return bool(poll.poll(LOOK_MILLISECONDS))
    finally:
        os.close(fd)


def _failed(place: Place, error: OSError | BcsError) -> None:
    message, hint = (error.message, error.hint) if isinstance(error, BcsError) else (str(error), f"see {place.log}")
    documents.write_state(place, State(FAILED, error=message, hint=hint))


def _end(place: Place, state: str) -> None:
    documents.write_state(place, State(state))
    place.pid(FILLER).unlink(missing_ok=True)
    shutil.rmtree(place.supply, ignore_errors=True)
    place.pid(ROLE).unlink(missing_ok=True)


def _open_at_boot(recipe: Recipe) -> None:
    """A unit that stays would cover a tree that is whole: that must be seen, and holds up nothing."""
    try:
        at_boot.remove(recipe.id)
    except (OSError, BcsError):
        traceback.print_exc()


def _clear(place: Place, recipe: Recipe) -> None:
    """Take away the tree's own directories; whatever is in them by now is not ours and stays."""
    _open_at_boot(recipe)
    shutil.rmtree(recipe.hidden, ignore_errors=True)
    if recipe.made_dir:
        with suppress(OSError):
            os.rmdir(recipe.dir)
