"""Whether a file system can hold a tree that is filled on demand, and keep through a power cut what was filled.

It has to set room aside (fallocate(2)), and to turn an unwritten extent into a written one in one step with its data.
ext4 zeroes small unwritten extents when it splits them, and calls them written then: that is switched off for the time
(Documentation/ABI/testing/sysfs-fs-ext4, extent_max_zeroout_kb).
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from engine.model.errors import Refused

_KEEPING = ("ext4", "xfs", "btrfs")
_FORGETTING = ("tmpfs", "ramfs")
_SPOILING = ("data=journal", "dioread_lock", "nodioread_nolock")


@dataclass(frozen=True, slots=True)
class FileSystem:
    """The type of the file system of a directory, its own options, and its device's name, as mountinfo has them."""

    kind: str
    options: tuple[str, ...]
    device: str


def file_system(directory: bytes) -> FileSystem:
    """See proc(5), mountinfo."""
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        lines = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
    finally:
        os.close(fd)
    wanted = next(line.split()[1] for line in lines if line.startswith("mnt_id:"))
    for line in Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape").splitlines():
        before, _, after = line.partition(" - ")
        if before.split()[0] == wanted:
            kind, device, options = after.split()[:3]
            return FileSystem(kind, tuple(options.split(",")), device)
    return FileSystem("", (), "")


def lasting(directory: bytes) -> bool:
    """Whether a recovery in this directory can go on after a power cut, which is made so where it can be. Refused for
    a file system that is none for it."""
    found = file_system(directory)
    if found.kind in _FORGETTING:
        return False
    if found.kind not in _KEEPING:
        raise Refused(
            f"{os.fsdecode(directory)} is on {found.kind or 'an unknown file system'}",
            hint="restore on demand to ext4, xfs or btrfs, or restore without --on-demand",
        )
    if found.kind != "ext4":
        return True
    if any(option in _SPOILING for option in found.options):
        return False
    return stop_zeroing(directory)


def stop_zeroing(directory: bytes) -> bool:
    """Whether the directory's ext4 leaves unwritten extents alone now. False for other kinds, which have no such
    setting, and where it can't be reached. The directory may be one of a mount that is in no table."""
    setting = zeroing(directory)
    with suppress(OSError):
        if int(setting.read_text()) != 0:
            setting.write_text("0")
        return True
    return False


def zeroing(directory: bytes) -> Path:
    """ext4's setting that has to be 0: it is 32 again after each mount."""
    device = os.stat(directory).st_dev
    name = os.path.basename(os.path.realpath(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}"))
    return Path("/sys/fs/ext4") / name / "extent_max_zeroout_kb"
