"""Whether somebody holds what keeps readers of a tree's cold bytes waiting, under the guard that its state names.

A supervisor that has just been started lives, and guards nothing yet: what it says in the state, once the tree can be
reached again, is what counts. One that took over from another has that one's guard on its command line, as fillers do.
"""

from __future__ import annotations

import os
from pathlib import Path

from engine.env.boot import boot_id
from engine.fill.base import Place
from engine.fill.kept.documents import State
from engine.fill.life.starting import FILLER, HOLDER, ROLE, living


def life_of(pid: int) -> str:
    """Boot, process and its start: no other supervisor has the same. OSError when there is no such process."""
    started = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[19]
    return f"{boot_id()}:{pid}:{started}"


def guarded(place: Place, state: State) -> bool:
    """Whether supervisor, filler or holder live under the guard of this state, which is of this boot."""
    if state.guard.partition(":")[0] != boot_id():
        return False
    return any(_under(place, role, state.guard) for role in (ROLE, FILLER, HOLDER))


def _under(place: Place, role: str, guard: str) -> bool:
    pid = living(place, role)
    if pid is None:
        return False
    try:
        return life_of(pid) == guard or os.fsencode(guard) in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False  # it has just ended
