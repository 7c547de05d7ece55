"""Did a mount come or go that matters to the watched trees? Watches die with their mount, without a record.

Source: proc(5), /proc/self/mountinfo, which polls as an error after every change of the mount table.
"""

from __future__ import annotations

import os
import select
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

_MOUNTINFO = "/proc/self/mountinfo"
_KERNELS_OWN = frozenset(
    b"autofs binder binfmt_misc bpf cgroup cgroup2 configfs debugfs devpts devtmpfs efivarfs fusectl hugetlbfs mqueue "
    b"nfsd nsfs proc pstore resctrl rpc_pipefs securityfs selinuxfs smackfs sysfs tracefs".split()
)
"""File systems without files of anybody's."""
_RECOVERY = b"fuse.bcs-"
_TEMPORARY, _TEMPORARY_AT = frozenset((b"tmpfs", b"ramfs")), (b"/dev", b"/proc", b"/run", b"/sys", b"/tmp")


def hollow_points(roots: Sequence[bytes], table: bytes) -> frozenset[bytes]:
    """Mount points below the roots of which only the directory belongs to a source: of the kernel's own file systems,
    and of memory where a system keeps what ends with it. Who protects something inside of such a place means it."""
    found = set()
    for line in table.splitlines():
        before, _, after = line.partition(b" - ")
        point, kind = _unescaped(before.split(b" ")[4]), after.split(b" ")[0]
        above = [root for root in roots if is_within(point, root) and point != root]
        places = [place for place in _TEMPORARY_AT if any(is_within(place, root) for root in above)]
        if above and (kind in _KERNELS_OWN or (kind in _TEMPORARY and any(is_within(point, each) for each in places))):
            found.add(point)
    return frozenset(point for point in found if not _below(point, found))


def mounts_of(roots: Sequence[bytes], table: bytes) -> frozenset[tuple[bytes, ...]]:
    """(mount id, device, mount point) of every mount in `table` above, at or below one of the roots; but not of those
    below hollow ones, which come and go with every session of a user."""
    found, hollow = set(), hollow_points(roots, table)
    for line in table.splitlines():
        mount_id, _, device, _, mount_point, *_ = line.split(b" ")
        point = _unescaped(mount_point)
        if not _below(point, hollow) and any(is_within(root, point) or is_within(point, root) for root in roots):
            found.add((mount_id, device, point))
    return frozenset(found)


def mounted_at(roots: Sequence[bytes], table: bytes) -> dict[bytes, str]:
    """mount point -> 'device root' of every mount in `table` above, at or below one of the roots that is not hidden by
    a later one. `root` is the directory of the file system that is mounted there."""
    found: dict[bytes, str] = {}
    hollow = hollow_points(roots, table)
    for line in table.splitlines():
        _, _, device, root, mount_point, *_ = line.split(b" ")
        point = _unescaped(mount_point)
        if _below(point, hollow) or not any(is_within(each, point) or is_within(point, each) for each in roots):
            continue
        for hidden in [each for each in found if is_within(each, point)]:
            del found[hidden]
        found[point] = os.fsdecode(device + b" " + root)
    return found


def lasting(table: bytes) -> bytes:
    """The table without the mounts through which a recovery on demand fills (engine.fill.by_fuse): they go in the end,
    and nobody mounts them again."""
    return b"\n".join(line for line in table.splitlines() if not line.partition(b" - ")[2].startswith(_RECOVERY))


def filesystem_type(path: bytes, table: bytes) -> bytes:
    """The type (b'ext4') of the file system that holds the absolute `path`; a later mount hides an earlier one."""
    best, name = b"", b""
    for line in table.splitlines():
        before, _, after = line.partition(b" - ")
        point = _unescaped(before.split(b" ")[4])
        if is_within(path, point) and len(point) >= len(best):
            best, name = point, after.split(b" ")[0]
    return name


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of the table. `source` is the device as it was named; `read_only` what the file system says of itself,
    whatever this mount of it allows."""

    type: bytes
    source: bytes
    read_only: bool


def mount_with(number: int, table: bytes) -> Mount | None:
    """The mount with this number, as name_to_handle_at(2) tells it too."""
    wanted = b"%d" % number
    for line in table.splitlines():
        before, _, after = line.partition(b" - ")
        if before.split(b" ", 1)[0] == wanted:
            kind, source, options = after.split(b" ", 2)
            return Mount(kind, _unescaped(source), b"ro" in options.split(b","))
    return None


def mount_table() -> bytes:
    """The text of /proc/self/mountinfo; empty where there is no /proc."""
    try:
        return Path(_MOUNTINFO).read_bytes()
    except FileNotFoundError:
        return b""


class MountTable:
    """Tells, by polling, whether the mounts of the watched trees are still those it saw last."""

    def __init__(self, roots: Sequence[bytes]) -> None:
        self._roots = [os.path.realpath(root) for root in roots]
        self._fd = os.open(_MOUNTINFO, os.O_RDONLY | os.O_CLOEXEC) if os.path.exists(_MOUNTINFO) else -1
        self._poll = select.poll()
        if self._fd >= 0:
            self._poll.register(self._fd, select.POLLPRI)
        self._seen = mounts_of(self._roots, mount_table())

    def fileno(self) -> int:
        """A descriptor that polls with POLLPRI on any change, or -1. Polling it takes the signal away."""
        return self._fd

    def any_changed(self) -> bool:
        """True once after any change of the table, of whatever mount. Costs one poll(2)."""
        return self._fd >= 0 and bool(self._poll.poll(0))

    def ours_changed(self) -> bool:
        """True when the mounts of the watched trees differ from the last time this was asked."""
        now = mounts_of(self._roots, mount_table())
        changed, self._seen = now != self._seen, now
        return changed

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def is_within(path: bytes, parent: bytes) -> bool:
    """Whether a path is the other one, or lies below it."""
    return path == parent or path.startswith(parent.rstrip(b"/") + b"/")


def _below(path: bytes, points: Collection[bytes]) -> bool:
    return any(path != point and is_within(path, point) for point in points)


def _unescaped(field: bytes) -> bytes:
    """A mountinfo field as a path: space, tab, newline and backslash are written as octal."""
    if b"\\" not in field:
        return field
    for code, plain in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\")):
        field = field.replace(code, plain)
    return field
