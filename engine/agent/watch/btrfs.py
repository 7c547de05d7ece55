"""The top of a btrfs of which only a subvolume is mounted, held for a moment, so that the whole can be marked.

fanotify_mark(2) refuses a mark on a file system from below a subvolume (EXDEV). A mount of the top (subvolid=5) that is
attached nowhere serves: nobody sees it, and once the mark is set it may go; the mark stays with the file system.
Sources: fsopen(2), fsconfig(2), fsmount(2) of Linux 5.2 and newer; btrfs(5), "subvolid".
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from engine.agent.watch.mounts import Mount, mount_table, mount_with
from engine.env import detached

_TOP = b"5"
"""The id of the subvolume that every btrfs begins with."""


@contextmanager
def top_of(mount_id: int) -> Iterator[int]:
    """A descriptor (O_PATH) of the top directory of the btrfs that is mounted under this number.

    OSError EXDEV, as without all this, when that is no btrfs or its top can't be mounted: an old kernel, a container,
    a device that can't be seen from here.
    """
    mount = mount_with(mount_id, mount_table())
    try:
        if mount is None or mount.type != b"btrfs":
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        fd = _mounted(mount)
    except OSError as error:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV)) from error
    try:
        yield fd
    finally:
        os.close(fd)


def _mounted(mount: Mount) -> int:
    options: dict[bytes, bytes | None] = {b"source": mount.source, b"subvolid": _TOP}
    if mount.read_only:  # another answer than the file system's own would change that of all its mounts
        options[b"ro"] = None
    attributes = detached.RDONLY | detached.NOSUID | detached.NODEV | detached.NOEXEC
    return detached.mount(b"btrfs", options, attributes)
