"""Which files are mapped shared and writable, by any process that shows in /proc (proc(5): maps, map_files).

Stores through such a mapping raise no event, so these files are looked at whether one came or not. Not to be asked
while a file system is frozen: a process that waits there to store may keep its maps locked.
"""

from __future__ import annotations

import os
from pathlib import Path

Number = tuple[int, int]
"""(st_dev, st_ino)."""


def mapped_files() -> set[Number]:
    """Each of them. Processes that end meanwhile, or may not be looked at, are left out."""
    found: set[Number] = set()
    for pid in os.listdir("/proc"):
        if not pid.isdigit():
            continue
        try:
            with Path(f"/proc/{pid}/maps").open("rb") as maps:
                lines = [line.split(None, 5) for line in maps]
        except OSError:
            continue
        for line in lines:
            # address, permissions, offset, device, inode, path: the device is the super block's, not st_dev
            if line[1][1:2] == b"w" and line[1][3:4] == b"s" and line[4] != b"0":
                try:
                    status = os.stat(f"/proc/{pid}/map_files/{_range(line[0])}")
                except OSError:
                    continue
                found.add((status.st_dev, status.st_ino))
    return found


def _range(address: bytes) -> str:
    """The name that map_files has for a range of maps: without leading zeros."""
    first, _, end = address.decode("ascii").partition("-")
    return f"{int(first, 16):x}-{int(end, 16):x}"
