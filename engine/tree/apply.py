"""Make inodes and give them their attributes, so that nothing is lost in silence.

The order of a restore: `make` with a mode that shuts others out, fill with `write_extent`, `link`
further names, then `finish` each file, and directories last, `deepest_first`, since making a name
changes its directory's times and a read-only directory takes no names. What privilege or the file
system does not allow comes back as Shortfalls, which the caller reports.
"""

from __future__ import annotations

import errno
import os
import stat as st
import struct
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from engine.model import xattrs
from engine.model.errors import Failed
from engine.model.events import BLOCK, CHARACTER, DIRECTORY, FIFO, FILE, SOCKET, SYMLINK, Inode
from engine.tree.attributes import NOT_KEPT, Attributes
from engine.tree.paths import shown

Wanted = Attributes | Inode
"""The attributes that something is to have: as they were read from a tree, or as the history has them."""

_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NOT_ALLOWED = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)
_GIVEN_BY_THE_TARGET = "security.selinux"
"""Without a recorded label the one that the target's own rules gave stays."""
_ACL = b"system.posix_acl_access"
_ACL_SHORTFALL = "xattr system.posix_acl_access"
_ACL_GROUP = 4
NO_SET_ID, NO_GROUP_BITS = -1, -2
"""As a Shortfall's errno: the mode was not set in full on purpose."""
_ON_PURPOSE = {
    NO_SET_ID: "left without set-user-id or set-group-id on purpose: it is not its owner's or its group's",
    NO_GROUP_BITS: "its group's bits are left out on purpose: the ACL that limited them could not be set",
}


class CannotMake(Failed):
    """An inode or a name could not be made; `path` and `errno` say where and why."""

    def __init__(self, path: bytes, number: int) -> None:
        super().__init__(
            f"cannot make {shown(path)}: {os.strerror(number)}",
            hint="choose an empty directory that you may write to, with space left",
            details={"path": shown(path), "errno": number},
        )
        self.path = path
        self.errno = number


@dataclass(frozen=True, slots=True)
class Shortfall:
    """`what` of `path` is not as recorded: node, link, owner, group, mode, times, or `xattr NAME`.

    `errno` is the kernel's answer; 0 says that it accepted the value and kept another one, NO_SET_ID and NO_GROUP_BITS
    that it was not asked.
    """

    path: bytes
    what: str
    errno: int

    def __str__(self) -> str:
        reason = _ON_PURPOSE.get(self.errno) or (
            os.strerror(self.errno) if self.errno else "the file system kept another value"
        )
        return f"{shown(self.path)}: {self.what}: {reason}"


def create_file(path: bytes, mode: int = 0o600) -> int:
    """A new, empty file, by default one that only its owner can open, as a descriptor for reading and writing. Raises
    CannotMake."""
    try:
        return os.open(path, _CREATE, mode)
    except OSError as error:
        raise CannotMake(path, error.errno or errno.EIO) from error


def make(path: bytes, attributes: Wanted) -> Shortfall | None:
    """A new inode of the right type, target and device, with mode 0600 or 0700; the rest is `finish`'s.

    A special file or symlink that may not be made here is a Shortfall("node"). Anything else that
    fails raises CannotMake, an existing `path` too: nothing is ever replaced.
    """
    kind = attributes.type
    if kind == FILE:
        os.close(create_file(path))
        return None
    try:
        if kind == DIRECTORY:
            os.mkdir(path, 0o700)
        elif kind == SYMLINK:
            os.symlink(attributes.target, path)
        elif kind == FIFO:
            os.mkfifo(path, 0o600)
        else:
            bits = {SOCKET: st.S_IFSOCK, CHARACTER: st.S_IFCHR, BLOCK: st.S_IFBLK}[kind]
            os.mknod(path, bits | 0o600, attributes.rdev)
    except OSError as error:
        if kind != DIRECTORY and error.errno in _NOT_ALLOWED:
            return Shortfall(path, "node", error.errno)
        raise CannotMake(path, error.errno or errno.EIO) from error
    return None


def link(existing: bytes, path: bytes) -> Shortfall | None:
    """A further name for an inode. A file system or rule that allows none is a Shortfall("link"); else CannotMake."""
    try:
        os.link(existing, path, follow_symlinks=False)
    except OSError as error:
        if error.errno in (*_NOT_ALLOWED, errno.EMLINK, errno.EXDEV):
            return Shortfall(path, "link", error.errno)
        raise CannotMake(path, error.errno or errno.EIO) from error
    return None


def write_extent(fd: int, offset: int, view: bytes | memoryview) -> None:
    """All of `view` at byte `offset`, however many writes that takes. Raises OSError."""
    rest = memoryview(view)
    while rest:
        written = os.pwrite(fd, rest, offset)
        rest = rest[written:]
        offset += written


def set_size(fd: int, size: int) -> None:
    """The file ends at `size`; what was not written is a hole. Raises OSError."""
    os.ftruncate(fd, size)


def deepest_first(paths: Iterable[bytes]) -> list[bytes]:
    """Children before their parents: the order in which directories are finished."""
    return sorted(paths, reverse=True)


def finish(path: bytes, attributes: Wanted, owners: bool = True, fd: int | None = None) -> list[Shortfall]:
    """Owner, extended attributes, mode, then times of an inode whose content is complete.

    chown clears set-id bits and capabilities, so it comes first; an ACL comes before the mode, which
    sets its mask; times come last (atime becomes mtime, it is not recorded). Extended attributes that
    are not recorded are removed, such as an ACL inherited from the parent. Set-id bits are withheld from
    a file that could not get its recorded owner: they would lend another's rights. So are group
    bits that only an ACL, which could not be set, had limited. Symlinks are never followed. With
    `fd`, the open file is worked on and `path` only names it.
    """
    where: bytes | int = path if fd is None else fd
    opened: int | None = None
    if fd is None and attributes.type in (FILE, DIRECTORY):
        with suppress(OSError):  # where its owner may not read it, the path serves and says what is wrong
            opened = where = os.open(path, _OPEN | (os.O_DIRECTORY if attributes.type == DIRECTORY else 0))
    try:
        # A look costs a fifth of a change, which the file system has to log.
        now = _seen(where)
        owned = now is not None and (now.st_uid, now.st_gid) == (attributes.uid, attributes.gid)
        missing = _set_owner(where, path, attributes) if owners and not owned else []
        plain, short = _set_xattrs(where, path, attributes)
        missing += short
        as_made = now is not None and plain and owned and st.S_IMODE(now.st_mode) == attributes.mode
        if attributes.type != SYMLINK and not as_made:
            without_acl = any(shortfall.what == _ACL_SHORTFALL for shortfall in missing)
            mode = _without_mask(attributes) if without_acl else attributes.mode
            missing += _set_mode(where, path, attributes, mode)
        missing += _set_times(where, path, attributes)
        return missing + _kept_another(where, path, attributes, owners, missing)
    finally:
        if opened is not None:
            os.close(opened)


def _set_owner(where: bytes | int, path: bytes, attributes: Wanted) -> list[Shortfall]:
    follow = isinstance(where, int)
    try:
        os.chown(where, attributes.uid, attributes.gid, follow_symlinks=follow)
    except OSError as error:
        number = error.errno or errno.EIO
    else:
        return []
    with suppress(OSError):  # the group alone may still be one that we are in
        os.chown(where, -1, attributes.gid, follow_symlinks=follow)
    try:
        now = os.stat(where, follow_symlinks=follow)
    except OSError:
        return [Shortfall(path, "owner", number), Shortfall(path, "group", number)]
    differs = {"owner": now.st_uid != attributes.uid, "group": now.st_gid != attributes.gid}
    return [Shortfall(path, what, number) for what, different in differs.items() if different]


def _seen(where: bytes | int) -> os.stat_result | None:
    with suppress(OSError):  # what follows says what is wrong
        return os.stat(where, follow_symlinks=isinstance(where, int))
    return None


def _set_xattrs(where: bytes | int, path: bytes, attributes: Wanted) -> tuple[bool, list[Shortfall]]:
    """Whether there are none and were none, and what could not be set."""
    follow = isinstance(where, int)
    wanted = xattrs.decode(attributes.xattrs) if attributes.xattrs else {}
    missing: list[Shortfall] = []
    try:
        present = os.listxattr(where, follow_symlinks=follow)
    except OSError:
        present = []  # none that could be removed; setting them below says why
    for name in present:
        if os.fsencode(name) in wanted or name in NOT_KEPT or name == _GIVEN_BY_THE_TARGET:
            continue
        try:
            os.removexattr(where, name, follow_symlinks=follow)
        except OSError as error:
            if error.errno != errno.ENODATA:
                missing.append(Shortfall(path, f"xattr {name}", error.errno or errno.EIO))
    for raw, value in wanted.items():
        try:
            os.setxattr(where, raw, value, follow_symlinks=follow)
        except OSError as error:
            missing.append(Shortfall(path, f"xattr {shown(raw)}", error.errno or errno.EIO))
    return not present and not wanted, missing


def _without_mask(attributes: Wanted) -> int:
    """The mode for a file whose ACL could not be set: its group bits are the ACL's mask, which would give the
    owning group all that any named user had; the ACL's own entry for the group is what it may have (acl(5))."""
    acl = xattrs.decode(attributes.xattrs)[_ACL]
    for tag, permissions, _ in struct.iter_unpack("<HHI", acl[4 : 4 + (len(acl) - 4) // 8 * 8]):
        if tag == _ACL_GROUP:
            return attributes.mode & (~0o070 | int(permissions) << 3)
    return attributes.mode & ~0o070


def _set_mode(where: bytes | int, path: bytes, attributes: Wanted, mode: int) -> list[Shortfall]:
    missing: list[Shortfall] = []
    why = NO_GROUP_BITS
    try:
        if mode & (st.S_ISUID | st.S_ISGID) and attributes.type != DIRECTORY:
            now = os.stat(where, follow_symlinks=isinstance(where, int))
            lent = (st.S_ISUID if now.st_uid != attributes.uid else 0) | (
                st.S_ISGID if now.st_gid != attributes.gid else 0
            )
            why = NO_SET_ID if mode & lent else why
            mode &= ~lent
        if mode != attributes.mode:
            missing.append(Shortfall(path, "mode", why))
        if isinstance(where, int):
            os.chmod(where, mode)
        else:
            _chmod_path(where, mode)
    except OSError as error:
        return [Shortfall(path, "mode", error.errno or errno.EIO)]
    return missing


def _chmod_path(path: bytes, mode: int) -> None:
    """chmod(2) follows symlinks and Linux had nothing else before 6.6: pin the inode, go through /proc (proc(5))."""
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.chmod(b"/proc/self/fd/%d" % fd, mode)
    finally:
        os.close(fd)


def _set_times(where: bytes | int, path: bytes, attributes: Wanted) -> list[Shortfall]:
    times = (attributes.mtime_ns, attributes.mtime_ns)
    try:
        os.utime(where, ns=times, follow_symlinks=isinstance(where, int))
    except (OSError, OverflowError) as error:
        number = error.errno if isinstance(error, OSError) else errno.EOVERFLOW
        return [Shortfall(path, "times", number or errno.EIO)]
    return []


def _kept_another(
    where: bytes | int, path: bytes, attributes: Wanted, owners: bool, missing: list[Shortfall]
) -> list[Shortfall]:
    """What the kernel accepted and did not do: a set-group bit dropped, a time outside the file system's range."""
    try:
        now = os.stat(where, follow_symlinks=isinstance(where, int))
    except OSError as error:
        return [Shortfall(path, "node", error.errno or errno.EIO)]
    owned = (now.st_uid, now.st_gid) == (attributes.uid, attributes.gid)
    as_wanted = st.S_IMODE(now.st_mode) == attributes.mode and now.st_mtime_ns == attributes.mtime_ns
    if as_wanted and (owned or not owners):
        return []
    differs = {
        "owner": owners and now.st_uid != attributes.uid,
        "group": owners and now.st_gid != attributes.gid,
        "mode": attributes.type != SYMLINK and st.S_IMODE(now.st_mode) != attributes.mode,
        "times": now.st_mtime_ns != attributes.mtime_ns,
    }
    known = {shortfall.what for shortfall in missing}
    return [Shortfall(path, what, 0) for what, different in differs.items() if different and what not in known]
