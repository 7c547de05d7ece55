"""Read-only snapshots of btrfs subvolumes, through a mount of the top subvolume that nobody else sees.

Sources: btrfs-ioctl(2), linux/btrfs.h; fsopen(2), fsconfig(2), fsmount(2): the mount is never attached anywhere, it is
reached through its descriptor and goes with it. Needs CAP_SYS_ADMIN, and a service whose system calls include these.
"""

from __future__ import annotations

import fcntl
import os
import struct

from engine.env import detached

ROOT_INODE = 256
"""The inode number of a subvolume's root."""

_SNAP_CREATE_V2, _SNAP_DESTROY, _GET_SUBVOL_ROOTREF = 0x50009417, 0x5000940F, 0xD000943D
_READ_ONLY = 2
_ROOTREF_COUNT_AT = 8 + 255 * 16


def mount_top(device: bytes) -> int:
    """A descriptor of the top subvolume's root on this device. OSError where that is not allowed."""
    attributes = detached.NOSUID | detached.NODEV | detached.NOEXEC
    mount = detached.mount(b"btrfs", {b"source": device, b"subvolid": b"5"}, attributes)
    try:
        return os.open(f"/proc/self/fd/{mount}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # that was O_PATH
    finally:
        os.close(mount)


def snapshot(top: int, name: bytes, subvolume: int) -> None:
    """Make a read-only snapshot of the subvolume whose root is open, as `name` in the top subvolume."""
    arguments = struct.pack("=qQQ32x4040s", subvolume, 0, _READ_ONLY, name)
    fcntl.ioctl(top, _SNAP_CREATE_V2, bytearray(arguments))


def delete(top: int, name: bytes) -> None:
    """Delete a snapshot; its space comes back in a while. OSError when there is none."""
    fcntl.ioctl(top, _SNAP_DESTROY, bytearray(struct.pack("=q4088s", 0, name)))


def has_subvolumes(subvolume: int) -> bool:
    """Whether other subvolumes lie in the one whose root is open: a snapshot has empty directories in their place."""
    answer = bytearray(4096)
    fcntl.ioctl(subvolume, _GET_SUBVOL_ROOTREF, answer)
    return answer[_ROOTREF_COUNT_AT] > 0
