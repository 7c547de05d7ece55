"""The judge: everything that a tree holds, read with plain system calls. It shares nothing with the product."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import os
import stat
import subprocess
from pathlib import Path
from typing import Any

Facts = dict[str, Any]
Tree = dict[bytes, Facts]
"""Path relative to the root (b"." is the root itself) → what is there."""

SHOWN_TWICE = {"trusted.SGI_ACL_FILE", "trusted.SGI_ACL_DEFAULT"}
"""xfs shows the POSIX ACLs a second time under these names."""

DEEP = {"a-path-of-more-than-4-096-bytes"}
_FS_IOC_GETFLAGS = 0x80086601
_USER_FLAGS = 0x8 | 0x10 | 0x20 | 0x40 | 0x80
"""chattr S, i, a, d, A: those that every file system with flags knows."""
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_PIECE = 1 << 20
_libc = ctypes.CDLL(None, use_errno=True)


def walk(root: Path) -> Tree:
    """All below `root`. What is in memory only is written out first, so that holes are where they will stay."""
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _libc.syncfs(fd)
        tree: Tree = {}
        _take(fd, b".", b".", tree, {})
    finally:
        os.close(fd)
    return tree


def getfacl(root: Path) -> dict[bytes, bytes]:
    """What getfacl(1) says of each path that has more than a mode, by its first line. Deep trees are beyond it."""
    names = sorted(name for name in os.listdir(root) if name not in DEEP)
    said = subprocess.run(
        ["getfacl", "--recursive", "--skip-base", "--numeric", "--absolute-names", "--", *names],
        cwd=root,
        check=True,
        capture_output=True,
    ).stdout
    blocks = [block.partition(b"\n") for block in said.split(b"\n\n") if block]
    return {first.removeprefix(b"# file: "): rest for first, _, rest in blocks}


def differences(left: Tree, right: Tree) -> list[tuple[bytes, str, Any, Any]]:
    """(path, what, left, right) of all that differs; `what` is "name" where one side has nothing."""
    found: list[tuple[bytes, str, Any, Any]] = []
    for path in sorted({*left, *right}):
        a, b = left.get(path), right.get(path)
        if a is None or b is None:
            found.append((path, "name", a and a["type"], b and b["type"]))
            continue
        found += [(path, what, a.get(what), b.get(what)) for what in {**a, **b} if a.get(what) != b.get(what)]
    return found


def _take(parent: int, name: bytes, path: bytes, tree: Tree, first: dict[tuple[int, int], bytes]) -> None:
    status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    kind = stat.filemode(status.st_mode)[0]
    link = first.setdefault((status.st_dev, status.st_ino), path)
    facts = tree[path] = {
        "type": kind,
        "owner": (status.st_uid, status.st_gid),
        "mtime": status.st_mtime_ns,
        "link": None if kind == "d" or link == path else link,
        "xattrs": _xattrs(b"/proc/self/fd/%d/%b" % (parent, name)),
    }
    if kind == "l":
        facts["target"] = os.readlink(name, dir_fd=parent)
    else:
        facts["mode"] = oct(stat.S_IMODE(status.st_mode))
    if kind in "cb":
        facts["device"] = (os.major(status.st_rdev), os.minor(status.st_rdev))
    if kind not in "d-":
        return
    fd = os.open(name, _OPEN, dir_fd=parent)
    try:
        facts["flags"] = _flags(fd)
        if kind == "d":
            for below in sorted(map(os.fsencode, os.listdir(fd))):
                _take(fd, below, below if path == b"." else path + b"/" + below, tree, first)
        else:
            facts["size"] = status.st_size
            facts["data"], facts["content"] = _content(fd, status.st_size)
    finally:
        os.close(fd)


def _xattrs(where: bytes) -> dict[str, bytes]:
    names = os.listxattr(where, follow_symlinks=False)
    return {name: os.getxattr(where, name, follow_symlinks=False) for name in names if name not in SHOWN_TWICE}


def _flags(fd: int) -> int | None:
    answer = bytearray(8)
    try:
        fcntl.ioctl(fd, _FS_IOC_GETFLAGS, answer)
    except OSError:
        return None
    return int.from_bytes(answer[:4], "little") & _USER_FLAGS


def _content(fd: int, size: int) -> tuple[list[tuple[int, int]], str]:
    """Where data is, and a digest of every byte that isn't zero with its place: zeros and holes are the same to it."""
    total = hashlib.blake2b(digest_size=16)
    data = _data(fd, size)
    done = 0
    for start, end in data:
        for piece in range(max(done, start // _PIECE * _PIECE), end, _PIECE):
            done = piece + _PIECE
            found = os.pread(fd, _PIECE, piece)
            if found.strip(b"\0"):
                total.update(b"%d %d:" % (piece, len(found)) + found)
    return data, total.hexdigest()


def _data(fd: int, size: int) -> list[tuple[int, int]]:
    """(begin, end) of each range of data; nothing is read, since what lies in memory counts as data."""
    found: list[tuple[int, int]] = []
    at = 0
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            break
        at = os.lseek(fd, start, os.SEEK_HOLE)
        found.append((start, at))
    return found
