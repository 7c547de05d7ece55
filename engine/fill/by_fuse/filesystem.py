"""The file system of a tree that fills: each request of the kernel to what answers it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from engine.fill.by_fuse import attributes, contents, names
from engine.fill.by_fuse.behind import Behind
from engine.fill.by_fuse.listing import Listings
from engine.fuse import protocol as fuse
from engine.fuse import requests
from engine.fuse.memory import WRITE_BYTES_MAX
from engine.fuse.protocol import Request

_FLAGS = (
    fuse.ASYNC_READ
    | fuse.EXPORT_SUPPORT
    | fuse.DO_READDIRPLUS
    | fuse.READDIRPLUS_AUTO
    | fuse.PARALLEL_DIROPS
    | fuse.POSIX_ACL
    | fuse.MAX_PAGES
    | requests.BIG_WRITES
    | requests.DONT_MASK
    | requests.ASYNC_DIO
    | requests.CACHE_SYMLINKS
    | requests.HANDLE_KILLPRIV_V2
    | requests.SETXATTR_EXT
    | requests.INIT_EXT
    | requests.HAS_RESEND
)
"""Not the kernel's writeback cache: what an application has written must not go with the process that serves it, and
capture, which looks behind, must see it at once."""

_OPENS = (fuse.OPEN, requests.CREATE, requests.TMPFILE)

Data = bytes | bytearray | memoryview


class FillingFilesystem:
    """Answers `engine.fuse.working.Working`."""

    def __init__(self, behind: Behind, passes: bool = True) -> None:
        """`passes`: whole files may be passed to the kernel."""
        self._behind = behind
        self._flags = _FLAGS | (requests.PASSTHROUGH if passes and behind.is_root else 0)
        listings = Listings(behind)
        plain: dict[int, Callable[[Behind, Request], Data]] = {
            fuse.LOOKUP: names.look_up,
            fuse.READLINK: names.read_link,
            fuse.READ: contents.read,
            requests.WRITE: contents.write,
            requests.FSYNC: contents.sync,
            requests.FSYNCDIR: contents.sync_directory,
            requests.FALLOCATE: contents.allocate,
            requests.COPY_FILE_RANGE: contents.copy,
            fuse.LSEEK: contents.seek,
            fuse.GETATTR: lambda behind, request: behind.attributes_out(request.node),
            fuse.SETATTR: attributes.set_attributes,
            fuse.GETXATTR: attributes.xattr,
            fuse.LISTXATTR: attributes.xattr_names,
            fuse.OPENDIR: lambda _, request: listings.open(request),
            fuse.READDIR: lambda _, request: listings.read(request),
            fuse.READDIRPLUS: lambda _, request: listings.read(request),
            fuse.RELEASEDIR: lambda _, request: listings.close(request),
            fuse.RELEASE: _release,
            fuse.STATFS: lambda behind, _: requests.statfs(os.fstatvfs(behind.nodes.root.fd)),
            fuse.DESTROY: lambda *_: b"",
        }
        self._plain = plain
        self._twice: dict[int, Callable[[Behind, Request, bool], bytes]] = {
            fuse.OPEN: _open,
            requests.CREATE: names.create,
            requests.TMPFILE: names.create_nameless,
            requests.MKNOD: names.make_node,
            requests.MKDIR: names.make_directory,
            requests.SYMLINK: names.make_symlink,
            requests.LINK: names.link,
            requests.UNLINK: names.unlink,
            requests.RMDIR: names.remove_directory,
            requests.RENAME: names.rename,
            requests.RENAME2: names.rename,
            requests.SETXATTR: attributes.set_xattr,
            requests.REMOVEXATTR: attributes.remove_xattr,
        }

    def answer(self, request: Request, again: bool) -> Data:
        """What there is to say; OSError is the caller's errno, ENOSYS for what is not asked again."""
        plain = self._plain.get(request.opcode)
        if plain is not None:
            return plain(self._behind, request)
        twice = self._twice.get(request.opcode)
        if twice is not None:
            return twice(self._behind, request, again)
        if request.opcode == fuse.INIT:
            return self._begin(request)
        # FLUSH among others: who closes a file has nothing left to hear that a write has not told him.
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    def unanswered(self, request: Request) -> None:
        """FORGET; who is interrupted has his answer when the contents come or their time is over."""
        if request.opcode in (fuse.FORGET, fuse.BATCH_FORGET):
            self._behind.nodes.forgotten(requests.forgotten(request.opcode, request.node, request.body))

    def undelivered(self, request: Request, data: Data) -> None:
        """Who asked has gone before he was answered: what was opened for him is closed."""
        if request.opcode in _OPENS:
            self._behind.files.close(requests.handle_of(memoryview(data)[-16:]))

    def _begin(self, request: Request) -> bytes:
        major, minor, ahead, flags = requests.offered(request.body)
        if major != fuse.KERNEL_VERSION:
            raise OSError(errno.EPROTO, f"the kernel speaks FUSE {major}")
        self._behind.memory.agree(flags & self._flags, minor)
        return requests.agreed(minor, ahead, flags & self._flags, WRITE_BYTES_MAX)


def _open(behind: Behind, request: Request, again: bool) -> bytes:
    return behind.files.open(request.node, requests.open_of(request.body), request.unique, again)


def _release(behind: Behind, request: Request) -> bytes:
    behind.files.close(requests.handle_of(request.body))
    return b""
