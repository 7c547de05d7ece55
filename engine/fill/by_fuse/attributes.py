"""Attributes through the mount: GETATTR, SETATTR, and extended attributes, ACLs among them.

The kernel has checked who may (default_permissions); what a change of owner or size takes away besides (the bits for
set-user-ID and set-group-ID) is done here where the kernel leaves it to us.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from contextlib import nullcontext, suppress
from typing import Any

from engine.fill.by_fuse.behind import Behind
from engine.fill.by_fuse.nodes import Held
from engine.fuse import protocol as fuse
from engine.fuse import requests
from engine.fuse.protocol import ROOT, Request
from engine.fuse.requests import Wanted

_INHERITED = b"system.posix_acl_default"
_NOW, _OMIT = (1 << 30) - 1, (1 << 30) - 2
_AT_FDCWD = -100
_libc = ctypes.CDLL(None, use_errno=True)


class _Time(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_int64), ("nanoseconds", ctypes.c_int64)]


_libc.utimensat.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.POINTER(_Time), ctypes.c_int]


def set_attributes(behind: Behind, request: Request) -> bytes:
    """SETATTR: owner, mode, size, times, in this order."""
    wanted = requests.setattr_of(request.body)
    node, valid = request.node, wanted.valid
    held = _held(behind, node, wanted)
    if valid & (requests.UID | requests.GID):
        os.chown(held.path, wanted.uid if valid & requests.UID else -1, wanted.gid if valid & requests.GID else -1)
    if valid & requests.MODE:
        os.chmod(held.path, stat.S_IMODE(wanted.mode))
    number = behind.cold(node)
    window: Any = nullcontext() if number is None else behind.fills.window(number)
    with window:
        if valid & requests.SIZE:
            before = os.stat(held.path).st_size
            _cut(behind, held, wanted)
            if number is not None:  # whoever was asked before may have cut it, and not noted it
                behind.fills.truncated(number, min(before, wanted.size))
            if valid & requests.KILL_SUIDGID:
                drop_privileges(held, request.gid)
        _set_times(held, wanted)
        if node == ROOT and behind.top is not behind.nodes.root:
            _set_times(behind.nodes.root, wanted)
            _pass_on(behind)
    return behind.attributes_out(node)


def _pass_on(behind: Behind) -> None:
    """What new names in the root inherit, their directory has from the one that stands for it; nobody gets in by it."""
    top, names = os.stat(behind.top.path), behind.nodes.root.path
    os.chown(names, -1, top.st_gid)
    os.chmod(names, stat.S_IRWXU | top.st_mode & stat.S_ISGID)
    try:
        os.setxattr(names, _INHERITED, os.getxattr(behind.top.path, _INHERITED))
    except OSError as error:
        if error.errno not in (errno.ENODATA, errno.EOPNOTSUPP):
            raise
        with suppress(OSError):
            os.removexattr(names, _INHERITED)


def drop_privileges(held: Held, gid: int) -> None:
    """What writing takes away from a program: set-user-ID; set-group-ID where the group may execute, or is not that of
    who writes (setattr_should_drop_sgid() of fs/attr.c)."""
    found = os.stat(held.path)
    mode = found.st_mode
    if not stat.S_ISREG(mode):
        return
    left = mode & ~stat.S_ISUID
    if mode & stat.S_IXGRP or found.st_gid != gid:
        left &= ~stat.S_ISGID
    if left != mode:
        os.chmod(held.path, stat.S_IMODE(left))


def xattr(behind: Behind, request: Request) -> bytes:
    """GETXATTR."""
    room, name = fuse.xattr_of(request.body)
    held = behind.held(request.node)
    return _fitting(room, os.getxattr(held.path, name))


def xattr_names(behind: Behind, request: Request) -> bytes:
    """LISTXATTR."""
    room, _ = fuse.xattr_of(request.body)
    held = behind.held(request.node)
    names = os.listxattr(held.path)
    return _fitting(room, b"".join(os.fsencode(name) + b"\0" for name in names))


def set_xattr(behind: Behind, request: Request, again: bool) -> bytes:
    """SETXATTR."""
    agreed = behind.memory.agreed
    name, value, flags, own = requests.setxattr_of(request.body, bool(agreed and agreed[0] & requests.SETXATTR_EXT))
    if again:
        flags &= ~(os.XATTR_CREATE | os.XATTR_REPLACE)
    held = behind.held(request.node)
    os.setxattr(held.path, name, value, flags)
    if own & requests.SETXATTR_KILL_SGID:
        mode = os.stat(held.path).st_mode
        os.chmod(held.path, stat.S_IMODE(mode & ~stat.S_ISGID))
    if held is behind.top and held is not behind.nodes.root:
        _pass_on(behind)
    return b""


def remove_xattr(behind: Behind, request: Request, again: bool) -> bytes:
    """REMOVEXATTR."""
    held = behind.held(request.node)
    try:
        os.removexattr(held.path, fuse.name_of(request.body))
    except OSError as error:
        if not again or error.errno != errno.ENODATA:
            raise
    if held is behind.top and held is not behind.nodes.root:
        _pass_on(behind)
    return b""


def _held(behind: Behind, node: int, wanted: Wanted) -> Held:
    if wanted.valid & requests.BY_HANDLE:
        return behind.files.get(wanted.handle).held
    return behind.held(node)


def _cut(behind: Behind, held: Held, wanted: Wanted) -> None:
    if wanted.valid & requests.BY_HANDLE:
        os.ftruncate(held.fd, wanted.size)
    else:
        os.truncate(held.path, wanted.size)


def _set_times(held: Held, wanted: Wanted) -> None:
    valid = wanted.valid
    if not valid & (requests.ATIME | requests.MTIME):
        return
    times = (_Time * 2)(
        _time(valid & requests.ATIME, valid & requests.ATIME_NOW, wanted.atime),
        _time(valid & requests.MTIME, valid & requests.MTIME_NOW, wanted.mtime),
    )
    if _libc.utimensat(_AT_FDCWD, held.path, times, 0) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _time(wanted: int, now: int, at: tuple[int, int]) -> _Time:
    return _Time(0, _OMIT) if not wanted else _Time(0, _NOW) if now else _Time(*at)


def _fitting(room: int, value: bytes) -> bytes:
    """A value that is asked for its length first (room 0), then for itself."""
    if not room:
        return fuse.xattr_size(len(value))
    if len(value) > room:
        raise OSError(errno.ERANGE, os.strerror(errno.ERANGE))
    return value
