"""What a write(2) takes away from a file: its capabilities, and set-user-id and set-group-id if the writer isn't root.

A fill is no change of a file, so it gives them again. Sources: capabilities(7), write(2), linux/capability.h.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

CAPABILITY = "security.capability"
CAPABILITY_BYTES_MAX = 24
"""struct vfs_ns_cap_data."""

_BITS = stat.S_ISUID | stat.S_ISGID
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class Privileges:
    """`bits` of the mode, and the bytes of the capability; nothing of either is empty."""

    bits: int = 0
    capability: bytes = b""

    def __bool__(self) -> bool:
        return bool(self.bits or self.capability)


NONE = Privileges()


def privileges_of(fd: int, status: os.stat_result) -> Privileges:
    """Those of an open file, whose fstat `status` is."""
    try:
        capability = os.getxattr(fd, CAPABILITY)
    except OSError:
        capability = b""
    return Privileges(status.st_mode & _BITS, capability)


def give_again(fd: int, kept: Privileges) -> None:
    """After a write: what it has taken of them. What is there is left alone. OSError."""
    if kept.capability and not privileges_of(fd, os.fstat(fd)).capability:
        os.setxattr(fd, CAPABILITY, kept.capability)
    if kept.bits:
        now = os.fstat(fd).st_mode
        if kept.bits & ~now:
            os.fchmod(fd, stat.S_IMODE(now) | kept.bits)


def is_roots_own(status: os.stat_result) -> bool:
    """Whether nobody but root can have written to a file, by its owner and mode."""
    return status.st_uid == 0 and not status.st_mode & _OTHERS_WRITE
