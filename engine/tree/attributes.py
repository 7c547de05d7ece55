"""Read all attributes of one inode, as `engine.model.events.Inode` has them.

Kept: type, permission bits, owner, size, mtime, device number, link target and every extended
attribute: POSIX ACLs (system.posix_acl_*), capabilities (security.capability), labels
(security.selinux: a label is part of who may do what) and whatever applications put there.
Not kept: atime, ctime and birth time, inode flags (chattr), and `NOT_KEPT`.
"""

from __future__ import annotations

import errno
import os
import stat as st
from dataclasses import dataclass

from engine.model import xattrs
from engine.model.errors import Failed
from engine.model.events import BLOCK, CHARACTER, DIRECTORY, FIFO, FILE, SOCKET, SYMLINK, Inode
from engine.tree.paths import shown

NOT_KEPT = frozenset(
    {
        "security.evm",  # a keyed hash over this very inode's number: wrong on any other inode
        "trusted.SGI_ACL_FILE",  # XFS shows the ACLs to root a second time under these names
        "trusted.SGI_ACL_DEFAULT",
        "trusted.overlay.origin",  # overlay's own notes that name inodes of this file system;
        "trusted.overlay.nlink",  # what an overlay layer means (opaque, redirect, metacopy,
        "trusted.overlay.upper",  # whiteout) is kept
        "trusted.overlay.impure",
        "user.overlay.origin",
        "user.overlay.nlink",
        "user.overlay.upper",
        "user.overlay.impure",
    }
)
"""Extended attributes that are neither read nor applied nor compared."""

TYPES = {
    st.S_IFREG: FILE,
    st.S_IFDIR: DIRECTORY,
    st.S_IFLNK: SYMLINK,
    st.S_IFIFO: FIFO,
    st.S_IFSOCK: SOCKET,
    st.S_IFCHR: CHARACTER,
    st.S_IFBLK: BLOCK,
}
"""The type bits of st_mode to the letter that the model uses."""

_TYPE_BITS = 0o170000
_MODE_BITS = 0o7777


class CannotRead(Failed):
    """The attributes of `path` could not be read; `errno` says why, `vanished` that it has gone."""

    code = "unreadable"

    def __init__(self, path: bytes, number: int) -> None:
        super().__init__(
            f"cannot read the attributes of {shown(path)}: {os.strerror(number)}",
            hint="run as a user who may read it, or exclude the path",
            details={"path": shown(path), "errno": number},
        )
        self.path = path
        self.errno = number

    @property
    def vanished(self) -> bool:
        return self.errno in (errno.ENOENT, errno.ENOTDIR)


@dataclass(frozen=True, slots=True)
class Attributes:
    """What `Inode` says of a file, without the event around it.

    `size` is 0 for all but files and symlinks: a directory's size is the file system's own affair.
    """

    type: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    rdev: int = 0
    target: bytes = b""
    xattrs: bytes = b""


def read_attributes(path: bytes, stat: os.stat_result | None = None, dir_fd: int | None = None) -> Attributes:
    """The attributes of `path`, never following a symlink; relative to `dir_fd` when given.

    `stat` is an lstat result that the caller already has. Raises CannotRead.
    """
    try:
        status = stat if stat is not None else os.stat(path, dir_fd=dir_fd, follow_symlinks=False)
        # The xattr calls take no dir_fd; the directory's entry in /proc stands for it.
        where = path if dir_fd is None else b"/proc/self/fd/%d/%b" % (dir_fd, path)
        target = os.readlink(path, dir_fd=dir_fd) if st.S_ISLNK(status.st_mode) else b""
        return _assemble(status, target, read_xattrs(where))
    except OSError as error:
        raise CannotRead(path, error.errno or errno.EIO) from error


def read_open(fd: int, path: bytes) -> Attributes:
    """The attributes of the open file or directory `fd`; `path` only names it in errors. Raises CannotRead."""
    try:
        return _assemble(os.fstat(fd), b"", read_xattrs(fd))
    except OSError as error:
        raise CannotRead(path, error.errno or errno.EIO) from error


def read_xattrs(where: bytes | int) -> bytes:
    """The kept extended attributes of a path (not followed) or an open file, encoded; b"" for none. Raises OSError."""
    follow = isinstance(where, int)
    try:
        names = os.listxattr(where, follow_symlinks=follow)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return b""
        raise
    if not names:
        return b""
    found: dict[bytes, bytes] = {}
    for name in names:
        if name in NOT_KEPT:
            continue
        try:
            found[os.fsencode(name)] = os.getxattr(where, name, follow_symlinks=follow)
        except OSError as error:
            if error.errno != errno.ENODATA:  # removed since it was listed: no longer an attribute
                raise
    return xattrs.encode(found)


def from_inode(inode: Inode) -> Attributes:
    """The attributes that an inode event records."""
    return Attributes(
        inode.type,
        inode.mode,
        inode.uid,
        inode.gid,
        inode.size,
        inode.mtime_ns,
        inode.rdev,
        inode.target,
        inode.xattrs,
    )


def _assemble(status: os.stat_result, target: bytes, encoded: bytes) -> Attributes:
    kind = TYPES[status.st_mode & _TYPE_BITS]
    return Attributes(
        kind,
        status.st_mode & _MODE_BITS,
        status.st_uid,
        status.st_gid,
        status.st_size if kind == FILE else len(target),
        status.st_mtime_ns,
        status.st_rdev if kind in (CHARACTER, BLOCK) else 0,
        target,
        encoded,
    )
