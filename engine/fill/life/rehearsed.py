"""What drills do with trees on demand, on a node and on a host alike: their state kept with them, looked through while
they are cold, filled, and taken away again."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from engine.env.clock import Clock
from engine.fill.base import CANCELLED, FAILED, Place
from engine.fill.life import recoveries
from engine.model.counts import counted
from engine.tree import clearing

LOOK_SECONDS = 0.1
STILL_SECONDS = 120.0
"""A tree that is to be filled and gets no byte for so long does not go on."""
READ_FILES = 16
"""Where a policy has no command, the first check reads a piece of so many files of each source."""


def trees_of(place: Path) -> Path:
    """Below which a drill's trees on demand keep their state, as others do below BCS_HOME."""
    return place / "trees"


def remove(place: Path) -> None:
    """Remove a drill's directory with all that is in it, whatever its modes; trees that still fill there are cancelled
    first. Failed, and nothing is touched, when something is mounted there: that may be anything."""
    for each in recoveries.recoveries(trees_of(place)):
        if each.living:
            recoveries.cancel(each)
    clearing.remove(place)


def missing(target: bytes, names: set[bytes]) -> list[bytes]:
    """Of the names of files below a directory (whole paths) those that no listing shows."""
    there: set[bytes] = set()
    for directory, _, files in os.walk(target):
        there.update(os.path.join(directory, name) for name in files)
    return sorted(names - there)


def filled(place: Place, told: Callable[[int], None], clock: Clock) -> tuple[str, bool]:
    """Have a tree filled at full speed: (why it is not whole, whether the journal is the cause), empty once it is.

    What is written is compared with its hash on its way. `told` hears often how many bytes are there, and may raise.
    """
    now = recoveries.look(place)
    if now.living:
        recoveries.want(now, finish=True, paused=False)
    last, at = -1, clock.monotonic()
    while now.living:
        done = now.progress.bytes_filled
        told(done)
        if done != last:
            last, at = done, clock.monotonic()
        damaged = now.progress.damaged
        if damaged and now.progress.files_left <= len(damaged):
            return f"{counted(len(damaged), 'file')} can't be filled, {damaged[0]} for one", True
        if not now.guarded and recoveries.look(place).living:
            return "its supervisor and its filler are gone", False
        if clock.monotonic() - at > STILL_SECONDS:
            holds_it = f": {now.progress.holds[0]}" if now.progress.holds else ""
            return f"it has not gone on for {STILL_SECONDS:g} s{holds_it}", False
        clock.sleep(LOOK_SECONDS)
        now = recoveries.look(place)
    if now.state.state in (FAILED, CANCELLED):
        return f"it ended: {now.state.state} {now.state.error}", False
    recoveries.await_end(place, clock)
    return "", False
