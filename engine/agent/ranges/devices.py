"""A file system as the trace events name it: the kernel's device number, and the name of its backing device.

Sources: include/linux/kdev_t.h (12 bits of major, 20 of minor), proc(5) on mountinfo, sysfs. btrfs reports other device
numbers to stat(2) than to anyone else and is not found here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from engine.agent.watch.mounts import mount_table


@dataclass(frozen=True, slots=True)
class Device:
    """`dev` as st_dev has it, `kernel` as the trace events have it, `backing` the name that writeback events bear."""

    dev: int
    kernel: int
    backing: str
    kind: str
    block_bytes: int


def device_of(dev: int, fd: int) -> Device | None:
    """The device behind st_dev `dev`, on which `fd` is open; None when it isn't one with a block device, or uses DAX.

    Stores into memory that is the disk itself (DAX) make no page dirty, so nothing tells of them.
    """
    number = f"{os.major(dev)}:{os.minor(dev)}"
    kind = _type(number.encode("ascii"))
    block = Path("/sys/dev/block") / number
    if not kind or not block.exists():
        return None
    whole = block.resolve()
    if (whole / "partition").exists():
        whole = whole.parent
    try:
        if (whole / "queue/dax").read_text().strip() == "1":
            return None
        backing = (whole / "dev").read_text().strip()
    except OSError:
        return None
    return Device(dev, os.major(dev) << 20 | os.minor(dev), backing, kind, os.fstatvfs(fd).f_bsize)


def _type(number: bytes) -> str:
    """The type of the file system that is mounted from this device; '' when none is, or it could be two."""
    kinds = set()
    for line in mount_table().splitlines():
        before, _, after = line.partition(b" - ")
        if before.split(b" ")[2] == number:
            kinds.add(after.split(b" ")[0].decode("ascii"))
    kinds = {"ext4" if kind in ("ext2", "ext3") else kind for kind in kinds}
    return kinds.pop() if len(kinds) == 1 else ""
