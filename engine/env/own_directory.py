"""Temporary directories that outlive nobody: whoever makes one removes those of processes that ended without doing so.

The pid in the name is for people. That a directory is ours says a file in it, OURS, and nothing else: whatever has a
name like ours and no such file is somebody's and stays, and so does one in which something is mounted. Whether it is
still in use the lock on that file tells, which ends with the process whatever ended it, and holds across containers
that share /tmp.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
import weakref
from pathlib import Path

OURS = ".bcs-temporary"
_NAME = re.compile(r"bcs-[a-z]+-[0-9]+-[^/]+")
_swept: set[str] = set()


class OwnDirectory:
    """A directory `bcs-WHAT-PID-…` where temporary files go, as `path`; gone with `remove`, or at the process's end."""

    def __init__(self, what: str) -> None:
        above = tempfile.gettempdir()
        if above not in _swept:  # once a process
            _swept.add(above)
            sweep(Path(above))
        self.path, held = _made(what)
        self._removed = weakref.finalize(self, _remove, self.path, held, os.getpid())

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        self.remove()

    def remove(self) -> None:
        """Remove it with all that is in it. Does nothing the second time."""
        self._removed()


def sweep(above: Path) -> int:
    """Remove such directories of this user that no process holds any more; answers how many."""
    try:
        names = [name for name in os.listdir(above) if _NAME.fullmatch(name)]
    except OSError:
        return 0
    return sum(_swept_away(above / name) for name in names)


def _swept_away(path: Path) -> bool:
    held = _held(path, 0)
    if held is None:
        return False
    swept = os.fstat(held).st_uid == os.geteuid() and _of_one_piece(path)
    if swept:
        shutil.rmtree(path, ignore_errors=True)
    os.close(held)
    return swept


def _of_one_piece(path: Path) -> bool:
    """Whether all of it is on one file system, and so nothing is mounted in it."""
    device = path.lstat().st_dev
    return all(
        (Path(folder) / name).lstat().st_dev == device
        for folder, folders, files in os.walk(path)
        for name in (*folders, *files)
    )


def _made(what: str) -> tuple[Path, int]:
    while True:
        path = Path(tempfile.mkdtemp(prefix=f"bcs-{what}-{os.getpid()}-"))
        held = _held(path, os.O_CREAT)
        if held is not None and os.fstat(held).st_nlink:
            return path, held
        if held is not None:  # somebody swept it away before it was locked
            os.close(held)


def _held(path: Path, create: int) -> int | None:
    """A descriptor with the lock of a directory of ours; None where another has it, or it is none."""
    try:
        fd = os.open(path / OURS, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | create, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return None
    return fd


def _remove(path: Path, held: int, maker: int) -> None:
    if os.getpid() != maker:  # a fork of it, which ends earlier
        return
    shutil.rmtree(path, ignore_errors=True)
    os.close(held)
