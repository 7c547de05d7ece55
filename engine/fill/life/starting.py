"""Start the supervisor of a recovery as a process of its own, and tell whether it lives."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import engine
from engine.env import durable, processes
from engine.env.clock import SYSTEM
from engine.fill.base import MODULES, MechanismModule, Place, Recipe
from engine.fill.life import service
from engine.model.errors import Failed

ROLE, FILLER, HOLDER = "supervisor", "filler", "holder"
START_SECONDS = 30.0
WHOLE, NEVER_CAME_UP, WITHDRAWN = 0, 3, 4
"""Exit codes of a filler: all is filled; it could not begin and has said why in the state; it has removed the tree."""


def module_of(recipe: Recipe) -> MechanismModule:
    return cast(MechanismModule, importlib.import_module(MODULES[recipe.mechanism]))


def home_of(place: Place) -> Path:
    """The BCS_HOME that a recovery belongs to."""
    return place.path.parent.parent


def environment(place: Place) -> dict[str, str]:
    """What supervisor and filler are started with: all that our processes need, and no more."""
    kept = {name: value for name, value in os.environ.items() if name.startswith("BCS_") or name in ("HOME", "TMPDIR")}
    return {
        "HOME": "/",
        **kept,
        **service.variables(),
        "BCS_HOME": str(home_of(place)),
        "PATH": os.environ.get("PATH") or os.defpath,
        "PYTHONPATH": str(Path(engine.__file__).parents[1]),
        "LANG": "C.UTF-8",
    }


def living(place: Place, role: str = ROLE) -> int | None:
    """The pid of the supervisor, or filler, of this recovery; None when it does not live."""
    pid = processes.read_pid(place.pid(role))
    return pid if pid is not None and processes.is_ours(pid, role, home_of(place)) else None


def start_supervisor(place: Place, held: int | None = None, guard: str = "", as_before: bool = False) -> int:
    """Its pid. With `held` it takes over that descriptor, and the `guard` under which the map is known to be true; else
    it is a service of systemd's, where that can be. A second one waits until the first has ended, or ends itself.

    With `as_before` it is started as whoever made the tree did, whose program has what fills it, and by systemd where
    there is one: the caller may be another program, and confined. Failed when it does not start."""
    argv = [sys.executable, "-m", "engine.fill", "--role", ROLE, "--place", str(place.path)]
    variables = environment(place)
    if as_before:
        argv[0], variables = _as_before(place) or (argv[0], variables)
    elif held is None:
        _note_how(place, variables)
    if held is not None:
        argv += ["--fd", str(held), "--guard", guard]
    elif pid := service.start(place, argv, variables):
        return _noted(place, pid)
    elif as_before and service.possible():
        raise Failed("systemd does not start its supervisor", hint=f"see {place.log}")
    with place.log.open("ab") as log:
        try:
            child = subprocess.Popen(
                *(argv,),
                env=variables,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=() if held is None else (held,),
                start_new_session=True,
            )
        except OSError as error:
            raise Failed(f"can't start {argv[0]}: {error.strerror}", hint="check that it may be executed") from error
    child.returncode = 0  # it outlives us: Popen shall neither wait for it nor warn
    return _noted(place, child.pid)


def _note_how(place: Place, variables: Mapping[str, str]) -> None:
    """By which Python, in which environment (it is nobody else's) a supervisor is started: for `_as_before`."""
    told = {"python": sys.executable, "environment": dict(variables)}
    durable.replace(place.path / "started.json", json.dumps(told).encode(), mode=0o600)


def _as_before(place: Place) -> tuple[str, dict[str, str]] | None:
    """What `_note_how` has noted; None when that program has gone."""
    try:
        told = json.loads((place.path / "started.json").read_bytes())
        python, variables = str(told["python"]), dict(told["environment"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    there = os.access(python, os.X_OK) and os.path.isdir(variables.get("PYTHONPATH", ""))
    return (python, variables) if there else None


def _noted(place: Place, pid: int) -> int:
    """Until it does so itself, when it is the only one; where another one lives that one stays noted."""
    if living(place) is None:
        processes.write_pid_file(place.pid(ROLE), pid)
    return pid


def await_end_of(place: Place, role: str, seconds: float = START_SECONDS) -> bool:
    """Wait until the process of this role has ended; False when it still lives then."""
    end = SYSTEM.monotonic() + seconds
    while living(place, role) is not None:
        if SYSTEM.monotonic() > end:
            return False
        SYSTEM.sleep(0.02)
    return True
