"""Where a drill restores to: one directory of its own, gone afterwards whatever happens; one drill at a time.

BCS_HOME/drills/lock is held for as long as a drill runs and says where its directory is. Who gets the lock next removes
what a drill that was killed has left.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.env import durable
from engine.env.clock import Clock
from engine.fill.life import rehearsed
from engine.model.errors import Refused

PREFIX = "drill-"
WAIT_SECONDS = 600.0
_ASK_SECONDS = 0.2


def directory(home: Path) -> Path:
    """Where drills are, below BCS_HOME."""
    return home / "drills"


@contextmanager
def turn(
    home: Path, clock: Clock, wait_seconds: float = WAIT_SECONDS, waiting: Callable[[str], None] = lambda who: None
) -> Iterator[int]:
    """Be the one drill that runs, within the block; answers the lock. What a dead one has left is removed first.

    `waiting` hears once of the one that is waited for. Refused when that takes too long.
    """
    durable.make_directories(directory(home), mode=0o700)
    lock = os.open(directory(home) / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _locked(lock, clock, wait_seconds, waiting)
        remove_leftovers(home, lock)
        yield lock
        os.ftruncate(lock, 0)
    finally:
        os.close(lock)


def remove_dead(home: Path) -> None:
    """Remove what dead drills have left, if none runs now."""
    if not directory(home).is_dir():
        return
    lock = os.open(directory(home) / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if _try(lock):
            remove_leftovers(home, lock)
            os.ftruncate(lock, 0)
    finally:
        os.close(lock)


def running(home: Path) -> dict[str, Any]:
    """What the drill that runs now says of itself: {id, group, dir, pid}; empty when none runs."""
    try:
        lock = os.open(directory(home) / "lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return {}
    try:
        return {} if _try(lock) else _said(lock)
    finally:
        os.close(lock)


@contextmanager
def scratch(home: Path, below: str, id: str, group: str, lock: int) -> Iterator[Path]:
    """A new directory for one drill, for us alone: below BCS_HOME/drills, or below `below`. Refused where that is no
    directory of ours."""
    parent = Path(below) if below else directory(home)
    place = parent / f"{PREFIX}{id}"
    # Noted before it is there, so that nothing is left which nobody knows of.
    said = json.dumps({"id": id, "group": group, "dir": str(place), "pid": os.getpid()}).encode()
    os.ftruncate(lock, 0)
    os.pwrite(lock, said, 0)
    os.fsync(lock)
    try:
        place.mkdir(mode=0o700)
    except OSError as error:
        raise Refused(
            f"{place} can't be made: {error.strerror}", hint="name a directory of the node's user as `scratch`"
        ) from None
    try:
        yield place
    finally:
        rehearsed.remove(place)


def remove_leftovers(home: Path, lock: int) -> None:
    """Remove the directories of dead drills. The lock is ours: none of them lives."""
    noted = Path(str(_said(lock).get("dir") or "/"))
    if noted.name.startswith(PREFIX) and noted.parent != directory(home):
        rehearsed.remove(noted)
    for each in directory(home).glob(f"{PREFIX}*"):
        rehearsed.remove(each)


def _locked(lock: int, clock: Clock, wait_seconds: float, waiting: Callable[[str], None]) -> None:
    ends_at, told = clock.monotonic() + wait_seconds, False
    while not _try(lock):
        group = str(_said(lock).get("group") or "another group")
        if clock.monotonic() >= ends_at:
            raise Refused(f"a drill of {group} runs", hint="one drill runs at a time: try again once it has ended")
        if not told:
            waiting(group)
            told = True
        clock.sleep(_ASK_SECONDS)


def _try(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _said(lock: int) -> dict[str, Any]:
    try:
        value = json.loads(os.pread(lock, 1 << 16, 0) or b"{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
