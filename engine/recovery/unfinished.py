"""Restores to directories of this machine that have begun and not ended: who asks for the same again goes on.

BCS_HOME/restores/<target>.json says what was asked for and which points answered; the disk itself says how far it came.
The file is locked while a restore runs, and taken away when it has come to its end with nothing missing.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from engine.env import durable, randomness
from engine.model.errors import Refused

FOLDER = "restores"
ID_BYTES = 4


@dataclass(frozen=True, slots=True)
class Begun:
    """One restore. `asked` is what the user wrote; `points` the position that answered for each stream; `made` says
    that the restore made the target, `full` that things were in it, `spread` that sources lie side by side there."""

    id: str
    target: str
    asked: Mapping[str, Any]
    begun_at: int
    points: Mapping[str, str] = field(default_factory=dict)
    made: bool = True
    full: bool = False
    spread: bool = False


def new_id() -> str:
    """A short name for a restore, by which people call it."""
    return randomness.token_hex(ID_BYTES)


def read(home: Path, target: Path) -> Begun | None:
    """What has begun in a directory and not ended; None for nothing."""
    return _read(_file(home, target))


def every(home: Path) -> list[Begun]:
    """All that have begun and not ended, the oldest first."""
    found = [_read(file) for file in (home / FOLDER).glob("*.json")]
    return sorted((one for one in found if one), key=lambda one: one.begun_at)


def note(home: Path, begun: Begun) -> None:
    """Make it durable that a restore begins, before it writes."""
    durable.make_directories(home / FOLDER)
    durable.replace(_file(home, Path(begun.target)), json.dumps(asdict(begun), sort_keys=True).encode())


def end(home: Path, target: Path) -> None:
    """It has ended with nothing missing, or is given up."""
    _file(home, target).unlink(missing_ok=True)


@contextmanager
def alone(home: Path, target: Path) -> Iterator[None]:
    """Within it no other restore writes to that directory. Refused when one does."""
    durable.make_directories(home / FOLDER)
    file = _file(home, target).with_suffix(".lock")
    fd = _locked(file)
    while fd is not None and not os.fstat(fd).st_nlink:  # its holder before us took the file away with it
        os.close(fd)
        fd = _locked(file)
    if fd is None:
        raise Refused(f"another restore is writing to {target}", hint="wait until it has ended")
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
        os.close(fd)


def _locked(file: Path) -> int | None:
    """The file, locked; None when another holds it."""
    fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def _file(home: Path, target: Path) -> Path:
    digest = hashlib.blake2b(os.fsencode(os.path.realpath(target)), digest_size=8).hexdigest()
    return home / FOLDER / f"{digest}.json"


def _read(file: Path) -> Begun | None:
    try:
        value = json.loads(file.read_bytes())
        return Begun(**value)
    except (FileNotFoundError, ValueError, TypeError):
        return None
