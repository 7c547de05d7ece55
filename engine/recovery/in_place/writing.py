"""Restores in place that write now, each with a note of itself: one that was killed is recorded as interrupted.

BCS_HOME/restores/in-place/<mark>.json has who asked for it and what its record says. It is locked while it writes, and
taken away by who wrote it; a note that nobody holds is of one who was killed.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.env import durable
from engine.model.errors import BcsError
from engine.recovery.acts import record_act

FOLDER = "in-place"
ENDED, INTERRUPTED = "restore", "interrupted"
"""What the audit calls the end of a restore, and the code of one that had none."""


@contextmanager
def writing(home: Path, mark: str, who: str, told: Mapping[str, Any]) -> Iterator[None]:
    """Within it the restore that `mark` undoes writes: noted durably before. Its end is recorded by the caller, within
    it too."""
    folder = _folder(home)
    durable.make_directories(folder)
    path = folder / f"{mark}.json"
    # Locked before it has its name: nobody takes it for one who was killed.
    beside = path.with_suffix(".new")
    fd = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        os.write(fd, json.dumps({"who": who, "details": dict(told)}).encode())
        os.fsync(fd)
        beside.rename(path)
        durable.sync_directory(folder)
        yield
        path.unlink(missing_ok=True)
    except (KeyboardInterrupt, BcsError, OSError):  # the caller has recorded it
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)


def close_interrupted(home: Path) -> list[dict[str, Any]]:
    """Have those recorded that were killed while they wrote: what was recorded of each. OSError when that can't be."""
    closed = []
    for path in sorted(_folder(home).glob("*.json")):
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                note = json.loads(file.read())
                details, who = dict(note["details"]), str(note["who"])
            except (BlockingIOError, ValueError, KeyError, TypeError):
                continue  # it writes
            if not os.fstat(file.fileno()).st_nlink:
                continue  # another was faster
            told = {**details, "verified": False, "error": "killed while it wrote", "code": INTERRUPTED}
            record_act(home, ENDED, who, told)
            path.unlink(missing_ok=True)
            closed.append(told)
    return closed


def _folder(home: Path) -> Path:
    return home / "restores" / FOLDER
