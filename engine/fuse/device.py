"""Mounting: a descriptor of /dev/fuse behind a directory, and taking the mount away again.

As root with mount(2); else through fusermount3(1), which passes the descriptor over a socket (the variable
_FUSE_COMMFD names its end) and lets a user mount on what is his. Sources: mount(2), umount(2), fuse(4), fuse(8).
"""

from __future__ import annotations

import array
import ctypes
import errno
import os
import shutil
import socket
import subprocess
from pathlib import Path

from engine.fuse.protocol import READ_BYTES_MAX
from engine.model.errors import Refused

_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 1, 2, 4, 8
_MS_FLAGS = _MS_RDONLY | _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
"""statvfs(3) has the same numbers for them."""
_MNT_DETACH = 2
READ_AHEAD_KIB = 1024
"""The kernel's default of 128 KiB would cap what one sequential reader gets."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]
_libc.umount2.argtypes = [ctypes.c_char_p, ctypes.c_int]


def mount(directory: bytes, name: str, writable_as: int | None = None) -> int:
    """Mount on an empty directory; the descriptor that serves it. `name` is shown as its source and type.

    Read-only, or as `writable_as` says: the flags of statvfs(3) of what lies behind (ST_NOSUID, ST_NODEV, ST_NOEXEC,
    ST_RDONLY). Refused when the kernel has no FUSE, the directory is taken, or this user may not.
    """
    flags = _MS_RDONLY | _MS_NOSUID | _MS_NODEV if writable_as is None else writable_as & _MS_FLAGS
    return _as_root(directory, name, flags) if os.geteuid() == 0 else _as_user(directory, name, flags)


def unmount(directory: bytes, *, lazily: bool = False) -> bool:
    """Take the mount away; False when someone still uses it. With `lazily` it goes for all who come later."""
    if os.geteuid() != 0:
        flags = ["-z"] if lazily else []
        done = subprocess.run(["fusermount3", "-u", *flags, "--", directory], capture_output=True, check=False)
        return done.returncode == 0
    if _libc.umount2(directory, _MNT_DETACH if lazily else 0) == 0:
        return True
    number = ctypes.get_errno()
    if number == errno.EBUSY:
        return False
    if number in (errno.EINVAL, errno.ENOENT):
        return True  # somebody was faster
    raise OSError(number, os.strerror(number), directory)


def program() -> str | None:
    """What mounts for those who are not root."""
    return shutil.which("fusermount3")


def read_ahead_more(directory: bytes) -> None:
    """Let the kernel read further ahead on this mount, where we may say so."""
    device = os.stat(directory).st_dev
    setting = Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb")
    try:
        setting.write_text(str(READ_AHEAD_KIB))
    except OSError:
        pass  # not root, or no sysfs: reading is slower, and right all the same


def _as_root(directory: bytes, name: str, flags: int) -> int:
    try:
        fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise _no_fuse(error.errno or errno.ENODEV) from None
    options = f"fd={fd},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions,max_read={READ_BYTES_MAX}"
    if _libc.mount(name.encode(), directory, f"fuse.{name}".encode(), flags, options.encode()) < 0:
        number = ctypes.get_errno()
        os.close(fd)
        if number in (errno.ENODEV, errno.EPERM):
            raise _no_fuse(number)
        raise Refused(
            f"can't mount on {os.fsdecode(directory)}: {os.strerror(number)}",
            hint="name an empty directory of a file system that takes mounts",
        )
    return fd


def _as_user(directory: bytes, name: str, flags: int) -> int:
    helper = program()
    if helper is None:
        raise Refused("only root may mount without fusermount3", hint="install the package fuse3, or run as root")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        how = "ro," if flags & _MS_RDONLY else ""
        options = f"{how}nosuid,nodev,default_permissions,fsname={name},subtype={name},max_read={READ_BYTES_MAX}"
        told = subprocess.run(
            [helper, "-o", options, "--", directory],
            env={**os.environ, "_FUSE_COMMFD": str(theirs.fileno())},
            pass_fds=[theirs.fileno()],
            stderr=subprocess.PIPE,
            check=False,
        )
        if told.returncode:
            reason = told.stderr.decode("utf-8", "replace").strip().removeprefix("fusermount3: ")
            raise Refused(f"can't mount on {os.fsdecode(directory)}: {reason}", hint="name an empty directory of yours")
        _, given, _, _ = ours.recvmsg(1, socket.CMSG_SPACE(4))
    descriptors = array.array("i")
    for _, _, data in given:
        descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    if not descriptors:
        raise Refused("fusermount3 passed no descriptor", hint="run it by hand to see what it says")
    os.set_inheritable(descriptors[0], False)
    return descriptors[0]


def _no_fuse(number: int) -> Refused:
    return Refused(
        f"this kernel lets us mount nothing: {os.strerror(number)}",
        hint="`modprobe fuse`; in a container it needs /dev/fuse and CAP_SYS_ADMIN",
    )
