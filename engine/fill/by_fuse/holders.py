"""Who has something open below a directory, as people are told it (proc(5))."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

SHOWN_MAX = 20


def holders(directory: bytes) -> list[str]:
    """A line for each process that has a file, a mapping, or where it stands, at or below `directory`; not of ours."""
    wanted = os.path.realpath(directory)
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            path = next(
                (path for path in _used(Path(entry.path)) if path == wanted or path.startswith(wanted + b"/")), None
            )
            if path is not None:
                found.append(f"{_name(Path(entry.path))} (pid {entry.name}): {os.fsdecode(path)}")
    return sorted(found)[:SHOWN_MAX]


def _used(process: Path) -> Iterator[bytes]:
    for name in ("cwd", "root", "exe"):
        yield _link(process / name)
    try:
        for each in os.scandir(process / "fd"):
            yield _link(Path(each.path))
        for line in (process / "maps").read_bytes().splitlines():
            yield line.split(None, 5)[-1]
    except OSError:
        return  # ended, or another's


def _link(path: Path) -> bytes:
    try:
        return os.readlink(os.fsencode(path))
    except OSError:
        return b""


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return "a process"
