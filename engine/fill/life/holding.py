"""Capture stands still while a tree is made where it looks: two locks that end with whoever holds them.

Who makes a tree writes its recipe first, then takes the locks of the sources there. Their agent sees the recipe and
lets go; it looks there again when the tree can be used. An agent that is down holds nothing.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from engine.env import durable
from engine.env.clock import SYSTEM, Clock
from engine.fill.base import Place
from engine.model.errors import Refused

SECONDS = 60.0
_LOOK_SECONDS = 0.02
LOCK = "maker.lock"
"""In the place of a tree that is made, or was."""


def lock_of(home: Path, stream: str) -> Path:
    return home / "agent" / stream / "capture.lock"


@contextmanager
def capturing(home: Path, stream: str) -> Iterator[bool]:
    """For the agent: whether it may look at a source within."""
    with _open(lock_of(home, stream)) as fd:
        yield _taken(fd, fcntl.LOCK_SH)


@contextmanager
def holding(home: Path, streams: Iterable[str], seconds: float = SECONDS, clock: Clock = SYSTEM) -> Iterator[None]:
    """For who makes a tree: nobody looks at these sources within. Refused when their agent does not let go in time."""
    ends = clock.monotonic() + seconds
    with ExitStack() as stack:
        for stream in streams:
            fd = stack.enter_context(_open(lock_of(home, stream)))
            while not _taken(fd, fcntl.LOCK_EX):
                if clock.monotonic() >= ends:
                    raise Refused(
                        f"the agent still looks at what is to be recovered, after {seconds:g} s",
                        hint="see `bcsctl agent status`; nothing was made",
                    )
                clock.sleep(_LOOK_SECONDS)
        yield


@contextmanager
def making(place: Place) -> Iterator[None]:
    """For who makes a tree: within, `being_made` tells others that he lives."""
    with _open(_maker(place)) as fd:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield


def being_made(place: Place) -> bool:
    """Whether the maker of this tree still lives."""
    try:
        fd = os.open(_maker(place), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not _taken(fd, fcntl.LOCK_SH)
    finally:
        os.close(fd)


def _maker(place: Place) -> Path:
    return place.path / LOCK


@contextmanager
def _open(path: Path) -> Iterator[int]:
    durable.make_directories(path.parent)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)


def _taken(fd: int, how: int) -> bool:
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
