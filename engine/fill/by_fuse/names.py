"""Names through the mount: looked up, made, linked, moved, removed.

The kernel holds the directory's lock meanwhile and has checked who may. Who makes something owns it; the group is the
directory's where that says so (set-group-ID). A request that is asked a second time, because who was asked first died,
may have been carried out: then what stands in its way is its own work, and it has succeeded.
"""

from __future__ import annotations

import ctypes
import os
import stat
from contextlib import suppress

from engine.fill.by_fuse.behind import Behind
from engine.fill.by_fuse.nodes import KEPT, Held
from engine.fuse import protocol as fuse
from engine.fuse import requests
from engine.fuse.protocol import Request

_NOREPLACE, _EXCHANGE = 1, 2
_MAKING = os.O_SYNC | os.O_DSYNC | os.O_NOATIME | os.O_NOFOLLOW | os.O_CLOEXEC
_libc = ctypes.CDLL(None, use_errno=True)


def look_up(behind: Behind, request: Request) -> bytes:
    """LOOKUP; a name that isn't there may be believed not to be, as long as it isn't made."""
    name = fuse.name_of(request.body)
    nodes = behind.nodes
    if name == b".":
        return behind.entry(request.node, behind.stat(request.node))
    if name == b"..":
        above = nodes.parent(request.node)
        return behind.entry(above, behind.stat(above))
    directory = nodes.directory(request.node)
    try:
        found = os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
    except FileNotFoundError:
        return _nothing()
    if nodes.hides(request.node, name):
        return _nothing()
    node = nodes.number(found)
    nodes.seen(node, request.node, name, found.st_nlink)
    if behind.cold(node) is not None:
        found = behind.stat(node)
    return behind.entry(node, found)


def read_link(behind: Behind, request: Request) -> bytes:
    """READLINK."""
    held = behind.nodes.held(request.node)
    return os.readlink(b"", dir_fd=held.fd)


def create(behind: Behind, request: Request, again: bool) -> bytes:
    """CREATE: make a file and open it."""
    flags, mode, umask, name = requests.create_of(request.body)
    directory = behind.nodes.directory(request.node)
    behind.umask(umask)
    how = (flags & (os.O_ACCMODE | _MAKING)) | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        held = Held(os.open(name, how | os.O_CREAT | os.O_EXCL, mode & 0o7777, dir_fd=directory.fd))
        made = True
    except FileExistsError:
        if flags & os.O_EXCL and not again:
            raise
        held = Held(os.open(name, how, dir_fd=directory.fd))
        made = again
    if made:
        _own_file(behind, directory, held.fd, request)
    return _made_open(behind, request, held, name, flags, again)


def create_nameless(behind: Behind, request: Request, again: bool) -> bytes:
    """TMPFILE: a file without a name, until it is linked to one. It is in KEPT, where a successor finds it."""
    flags, mode, umask, _ = requests.create_of(request.body)
    directory = behind.nodes.directory(request.node)
    behind.umask(umask)
    how = (flags & (os.O_ACCMODE | _MAKING)) | os.O_TMPFILE | os.O_CLOEXEC
    held = Held(os.open(b".", how, mode & 0o7777, dir_fd=directory.fd))
    _own_file(behind, directory, held.fd, request)
    node = os.fstat(held.fd).st_ino
    with behind.nodes.naming:
        os.link(held.path, b"%d" % node, dst_dir_fd=behind.nodes.kept.fd, follow_symlinks=True)
        behind.nodes.keep(node)
    return behind.entry(node, behind.stat(node)) + behind.files.open(node, flags, request.unique, again, held)


def make_node(behind: Behind, request: Request, again: bool) -> bytes:
    """MKNOD."""
    mode, rdev, umask, name = requests.mknod_of(request.body)
    directory = behind.nodes.directory(request.node)
    behind.umask(umask)
    with _second_time(again, FileExistsError):
        os.mknod(name, mode, rdev, dir_fd=directory.fd)
    return _made(behind, request, directory, name)


def make_directory(behind: Behind, request: Request, again: bool) -> bytes:
    """MKDIR."""
    mode, umask, name = requests.mkdir_of(request.body)
    directory = behind.nodes.directory(request.node)
    behind.umask(umask)
    with _second_time(again, FileExistsError):
        os.mkdir(name, mode, dir_fd=directory.fd)
    return _made(behind, request, directory, name)


def make_symlink(behind: Behind, request: Request, again: bool) -> bytes:
    """SYMLINK."""
    name, target = requests.two_names(request.body)
    directory = behind.nodes.directory(request.node)
    with _second_time(again, FileExistsError):
        os.symlink(target, name, dir_fd=directory.fd)
    return _made(behind, request, directory, name)


def link(behind: Behind, request: Request, again: bool) -> bytes:
    """LINK: a further name; the first one of a file that had none."""
    node, name = requests.link_of(request.body)
    nodes = behind.nodes
    with nodes.naming:
        directory, held = nodes.directory(request.node), nodes.held(node)
        with _second_time(again, FileExistsError):
            os.link(held.path, name, dst_dir_fd=directory.fd, follow_symlinks=True)
        if nodes.is_kept(node):
            os.unlink(b"%d" % node, dir_fd=nodes.kept.fd)
            nodes.moved(node, (KEPT, b"%d" % node), (request.node, name))
        else:
            nodes.seen(node, request.node, name, 2)
    return behind.entry(node, behind.stat(node))


def unlink(behind: Behind, request: Request, again: bool) -> bytes:
    """UNLINK. A file that is open is moved aside instead, so that a successor can go on with it."""
    name = fuse.name_of(request.body)
    nodes = behind.nodes
    with nodes.naming, _second_time(again, FileNotFoundError):
        directory = nodes.directory(request.node)
        node, last = _at(behind, directory, name)
        if last is not None and behind.files.is_open(node):
            with suppress(OSError):  # a full disk must not keep anybody from removing
                os.rename(name, b"%d" % node, src_dir_fd=directory.fd, dst_dir_fd=nodes.kept.fd)
                nodes.keep(node)
                return b""
        os.unlink(name, dir_fd=directory.fd)
        nodes.unnamed(node, request.node, name, last=last)
    return b""


def remove_directory(behind: Behind, request: Request, again: bool) -> bytes:
    """RMDIR."""
    name = fuse.name_of(request.body)
    nodes = behind.nodes
    with nodes.naming, _second_time(again, FileNotFoundError):
        directory = nodes.directory(request.node)
        held = Held(os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory.fd))
        os.rmdir(name, dir_fd=directory.fd)
        nodes.unnamed(nodes.number(os.fstat(held.fd)), request.node, name, last=held)
    return b""


def rename(behind: Behind, request: Request, again: bool) -> bytes:
    """RENAME and RENAME2."""
    to, flags, old, new = requests.rename_of(request.opcode, request.body)
    nodes = behind.nodes
    with nodes.naming:
        source, target = nodes.directory(request.node), nodes.directory(to)
        if again and _was_renamed(behind, request, source, old, flags):
            return b""
        node = nodes.number(os.stat(old, dir_fd=source.fd, follow_symlinks=False))
        there: tuple[int, Held | None] | None = None
        with suppress(FileNotFoundError):
            there = _at(behind, target, new)
        if there is not None and there[0] == node and not flags:
            return b""  # two names of one file: both stay (rename(2))
        behind.memory.intend(request.unique & ~requests.RESENT, node)
        kept = there is not None and not flags & (_EXCHANGE | _NOREPLACE) and _keep(behind, target, new, *there)
        try:
            _rename(source, old, target, new, flags)
        except OSError:
            if there is not None and kept:
                os.unlink(b"%d" % there[0], dir_fd=nodes.kept.fd)
            raise
        if there is not None and flags & _EXCHANGE:
            nodes.moved(there[0], (to, new), (request.node, old))
        elif there is not None and kept:
            nodes.keep(there[0])
        elif there is not None:
            nodes.unnamed(there[0], to, new, last=there[1])
        nodes.moved(node, (request.node, old), (to, new))
    return b""


def _was_renamed(behind: Behind, request: Request, source: Held, old: bytes, flags: int) -> bool:
    """Whether whoever was asked before has done it: what he was to move isn't where it was."""
    moved = behind.memory.intended(request.unique & ~requests.RESENT)
    if moved is None:
        return False  # he hadn't begun
    try:
        return behind.nodes.number(os.stat(old, dir_fd=source.fd, follow_symlinks=False)) != moved
    except FileNotFoundError:
        return True


def _keep(behind: Behind, directory: Held, name: bytes, node: int, last: Held | None) -> bool:
    """A file that is open and about to lose its last name gets one in KEPT; whether it did."""
    if last is None or not behind.files.is_open(node):
        return False
    with suppress(OSError):
        os.link(last.path, b"%d" % node, dst_dir_fd=behind.nodes.kept.fd, follow_symlinks=True)
        return True
    return False


def _rename(source: Held, old: bytes, target: Held, new: bytes, flags: int) -> None:
    if not flags:
        os.rename(old, new, src_dir_fd=source.fd, dst_dir_fd=target.fd)
    elif _libc.renameat2(source.fd, old, target.fd, new, flags) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _at(behind: Behind, directory: Held, name: bytes) -> tuple[int, Held | None]:
    """(node, the file itself when this is its last name) of what is at a name."""
    found = os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
    last = None
    if found.st_nlink == 1 or stat.S_ISDIR(found.st_mode):
        last = Held(os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory.fd))
    return behind.nodes.number(found), last


def _made(behind: Behind, request: Request, directory: Held, name: bytes) -> bytes:
    found = os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
    if behind.is_root:
        uid, gid = _owner(directory, found, request)
        if (uid, gid) != (found.st_uid, found.st_gid):
            os.chown(name, uid, gid, dir_fd=directory.fd, follow_symlinks=False)
            if stat.S_ISREG(found.st_mode) and found.st_mode & (stat.S_ISUID | stat.S_ISGID):
                os.chmod(name, stat.S_IMODE(found.st_mode), dir_fd=directory.fd)  # a new owner takes them away
            found = os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
    node = behind.nodes.number(found)
    behind.nodes.seen(node, request.node, name, found.st_nlink)
    return behind.entry(node, found)


def _made_open(behind: Behind, request: Request, held: Held, name: bytes, flags: int, again: bool) -> bytes:
    found = os.fstat(held.fd)
    node = behind.nodes.number(found)
    behind.nodes.seen(node, request.node, name, found.st_nlink)
    opened = behind.files.open(node, flags, request.unique, again, held)
    return behind.entry(node, found) + opened


def _own_file(behind: Behind, directory: Held, fd: int, request: Request) -> None:
    if not behind.is_root:
        return
    found = os.fstat(fd)
    uid, gid = _owner(directory, found, request)
    if (uid, gid) != (found.st_uid, found.st_gid):
        os.fchown(fd, uid, gid)
        if found.st_mode & (stat.S_ISUID | stat.S_ISGID):
            os.fchmod(fd, stat.S_IMODE(found.st_mode))


def _owner(directory: Held, found: os.stat_result, request: Request) -> tuple[int, int]:
    """(uid, gid) of something that a caller made: his, or the directory's group where new files have that."""
    inherits = found.st_gid != os.getegid() or os.fstat(directory.fd).st_mode & stat.S_ISGID
    return request.uid, found.st_gid if inherits else request.gid


def _nothing() -> bytes:
    return fuse.entry(0, bytes(fuse.ENTRY_BYTES - 40), 3600, 0)


class _second_time(suppress):
    """Forgives one error to a request that may have been carried out before."""

    def __init__(self, again: bool, error: type[OSError]) -> None:
        super().__init__(*([error] if again else []))
