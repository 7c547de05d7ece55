"""The cover: an empty read-only mount over a tree whose cold files nobody guards, so that nobody reads zeros there.

It is laid before anything can reach the tree after a reboot (engine.fill.life.at_boot has systemd do that) and taken
away once all files are guarded again. Sources: mount(2), umount(2), proc(5) mountinfo, mount_namespaces(7).
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from engine.env import detached

_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REC, _MS_PRIVATE = 0x1, 0x2, 0x4, 0x8, 0x4000, 0x40000
_MNT_DETACH = 2
_CLONE_NEWNS = 0x20000
_ESCAPED = {b" ": rb"\040", b"\t": rb"\011", b"\n": rb"\012"}

_PREFIX = "bcs-cover-"
OPTIONS = "size=4k,nr_inodes=2,mode=0555"
"""Of tmpfs: room for nothing but its root."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]
_libc.umount2.argtypes = [ctypes.c_char_p, ctypes.c_int]


def cover(directory: bytes, recovery: str) -> None:
    """Lay it over an existing directory; nothing when it lies there already. OSError when mounting is not allowed."""
    if is_covered(directory, recovery):
        return
    flags = _MS_RDONLY | _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    _checked(_libc.mount(name(recovery).encode(), directory, b"tmpfs", flags, OPTIONS.encode()), directory)


def uncover(directory: bytes, recovery: str) -> None:
    """Take it away, for those too who stand in it; nothing when there is none."""
    while is_covered(directory, recovery):
        _checked(_libc.umount2(directory, _MNT_DETACH), directory)


def is_covered(directory: bytes, recovery: str) -> bool:
    """Whether the uppermost mount at this directory is the cover of this recovery."""
    return uppermost(directory) == name(recovery).encode()


def beneath(directory: bytes, recovery: str) -> int:
    """A descriptor (O_PATH) of a mount of its own of what lies under the cover, or in the directory when it has none.

    From under a cover it is had by a thread with a mount namespace of its own, in which the cover is taken away: there
    is no other road to a mount below another one.
    """
    if not is_covered(directory, recovery):
        return detached.clone(directory)
    found: list[int | OSError] = []

    def look() -> None:
        try:
            _checked(_libc.unshare(_CLONE_NEWNS), directory)
            _checked(_libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None), directory)
            uncover(directory, recovery)
            found.append(detached.clone(directory))
        except OSError as error:
            found.append(error)

    _in_a_thread(look)
    if isinstance(found[0], OSError):
        raise found[0]
    return found[0]


def name(recovery: str) -> str:
    """What the table of mounts says of it, as its source."""
    return f"{_PREFIX}{recovery}"


def covering(directories: Iterable[bytes]) -> str:
    """The recovery whose cover lies at, above or below one of these real paths; empty when none does."""
    table = _table()
    if _PREFIX.encode() not in table:
        return ""
    wanted = [_escaped(directory).rstrip(b"/") + b"/" for directory in directories]
    for line in table.splitlines():
        before, _, after = line.partition(b" - ")
        kind, source = after.split()[:2]
        point = before.split()[4].rstrip(b"/") + b"/"
        # Others may call what they mount as they like, but not a tmpfs.
        ours = kind == b"tmpfs" and source.startswith(_PREFIX.encode())
        if ours and any(each.startswith(point) or point.startswith(each) for each in wanted):
            return os.fsdecode(source[len(_PREFIX) :])
    return ""


def uppermost(directory: bytes) -> bytes:
    """The source of the mount that was laid last at exactly this directory; empty when none is."""
    wanted = _escaped(_real(directory))
    source = b""
    for line in _table().splitlines():
        before, _, after = line.partition(b" - ")
        if before.split()[4] == wanted:
            source = after.split()[1]
    return source


def _table() -> bytes:
    return Path("/proc/thread-self/mountinfo").read_bytes()


def _escaped(path: bytes) -> bytes:
    """A path as the table has it."""
    for plain, escaped in ((b"\\", rb"\134"), *_ESCAPED.items()):
        path = path.replace(plain, escaped)
    return path


def _real(directory: bytes) -> bytes:
    """Its real path; what is mounted there is not asked for anything: its server may be gone."""
    above, name = os.path.split(os.path.abspath(directory))
    path = os.path.join(os.path.realpath(above), name)
    try:
        os.readlink(path)
    except OSError:
        return path  # no link
    return os.path.realpath(path)


def _in_a_thread(act: Callable[[], None]) -> None:
    thread = threading.Thread(target=act, name="beneath")
    thread.start()
    thread.join()


def _checked(result: int, path: bytes) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), os.fsdecode(path))
