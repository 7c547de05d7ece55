"""Which file systems a source lies on, as the kernel names them (proc(5): mountinfo, fdinfo)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from engine.agent.watch.mounts import mount_table


@dataclass(frozen=True, slots=True)
class Volume:
    """A mounted file system. `number` is its super block's (`8:1`), the same through all of its mounts and
    subvolumes; `root` is what of it is mounted at `point`."""

    number: bytes
    root: bytes
    point: bytes
    kind: bytes
    device: bytes
    mount_id: int
    read_only: bool = False
    """The file system itself, through whichever mount."""


def volumes() -> list[Volume]:
    """All that are mounted here."""
    found = []
    for line in mount_table().splitlines():
        before, _, after = line.partition(b" - ")
        mount_id, _, number, root, point, *_ = before.split(b" ")
        kind, device, options, *_ = after.split(b" ")
        read_only = b"ro" in options.split(b",")
        found.append(
            Volume(number, unescaped(root), unescaped(point), kind, unescaped(device), int(mount_id), read_only)
        )
    return found


def volume_of(fd: int, known: Iterable[Volume]) -> Volume | None:
    """The file system that an open file is on; None for one that is mounted nowhere here (a pipe, a socket)."""
    for line in Path(f"/proc/self/fdinfo/{fd}").read_bytes().splitlines():
        if line.startswith(b"mnt_id:"):
            number = int(line.split()[1])
            return next((volume for volume in known if volume.mount_id == number), None)
    return None


def volume_at(path: bytes, known: Iterable[Volume]) -> Volume | None:
    """The file system of a path, or of the nearest directory above it that there is."""
    while True:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
            break
        path = os.path.dirname(path)
    try:
        return volume_of(fd, known)
    finally:
        os.close(fd)


def volumes_below(paths: Iterable[bytes], known: Iterable[Volume]) -> list[Volume]:
    """Those that hold the trees at these (real) paths: one of each that the path is on, and all mounted inside."""
    known = list(known)
    found: list[Volume] = []
    for path in paths:
        above = volume_at(path, known)
        inside = [volume for volume in known if volume.point.startswith(path.rstrip(b"/") + b"/")]
        found += [*([above] if above else []), *inside]
    return found


def unescaped(field: bytes) -> bytes:
    """A field of mountinfo as it is: space, tab, newline and backslash are written there as octal."""
    for code, plain in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\")):
        field = field.replace(code, plain)
    return field
