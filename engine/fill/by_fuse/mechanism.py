"""Filling on demand behind FUSE: works on every kernel, and for users who are not root.

The mount lies over the directory; the tree is below it, in `hidden`, where nobody comes, until all of it is there. Then
its names move up into the directory, unseen, and once nobody has anything open the mount is taken away: what is left is
the plain tree. What the supervisor holds is one descriptor that carries the device, the mount's memory, and the two
directories; with it a successor answers what its predecessor has left, and goes on with the files that are open.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import resource
import stat
import sys
import traceback
from contextlib import suppress
from pathlib import Path

from engine.fill.base import FUSE, ColdFile, Fills, Place, Recipe
from engine.fill.by_fuse.behind import Behind
from engine.fill.by_fuse.carried import pack, unpack
from engine.fill.by_fuse.filesystem import FillingFilesystem
from engine.fill.by_fuse.holders import holders
from engine.fill.by_fuse.nodes import Held, Nodes, stale
from engine.fill.by_fuse.opened import OpenFiles
from engine.fill.by_fuse.waiting import Waiting
from engine.fill.tree import cover as covering
from engine.fill.tree import exposing
from engine.fill.tree.conditions import lasting
from engine.fill.tree.handles import handle_of, open_handle
from engine.fuse import device, memory, requests
from engine.fuse.memory import Memory
from engine.fuse.working import Working
from engine.model.errors import Refused

COSTS = "while it fills, files that are not whole are read and written through a process: some 30 µs a call"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MOVING, _BELOW = "moving", "below"


def why_not(directory: bytes) -> str:
    """See engine.fill.base.MechanismModule."""
    if not os.path.exists("/dev/fuse") or (not os.geteuid() and not os.access("/dev/fuse", os.W_OK)):
        return "there is no /dev/fuse that may be used: `modprobe fuse`, or give it to the container"
    if os.geteuid() and not device.program():
        return "only root may mount without fusermount3: install the package fuse3"
    if not os.access(directory, os.W_OK):
        return f"{os.fsdecode(directory)} can't be written"
    return ""


def hold(place: Place, recipe: Recipe) -> int:
    """In the supervisor: mount. Whoever comes waits until a filler answers."""
    directory, name = os.fsencode(recipe.dir), os.path.basename(os.fsencode(recipe.hidden))
    uncover(place, recipe)
    while _is_mounted(directory, recipe):  # its server has died
        device.unmount(directory, lazily=True)
    below = os.open(directory, _DIRECTORY)
    with suppress(Refused, OSError):
        lasting(b"/proc/self/fd/%d" % below)  # a setting that is gone with each mount of the file system
    kept_name = _kept_name(recipe)
    with suppress(FileExistsError):
        os.mkdir(kept_name, 0o700, dir_fd=below)
    kept = os.open(kept_name, _DIRECTORY, dir_fd=below)
    exposing.empty(kept)
    try:
        tree = os.open(name, _DIRECTORY, dir_fd=below)
    except FileNotFoundError:
        tree = os.dup(below)  # it has moved up already
    shared = memory.create()
    mounted = device.mount(directory, _mount_name(recipe), os.fstatvfs(below).f_flag)
    carried = [mounted, shared, below, tree, kept]
    held = pack(carried)
    for each in carried:
        os.close(each)
    return held


def orphaned(place: Place, recipe: Recipe, fd: int) -> None:
    """In the supervisor: have asked again what the dead filler had read and not answered. Kernels before 6.9 know no
    such thing: the next filler finds it in the mount's memory."""
    carried = unpack(fd)
    try:
        os.write(carried[0], requests.resend())
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENODEV, errno.EPERM):
            raise
    finally:
        for each in carried:
            os.close(each)


def let_go(place: Place, recipe: Recipe, fd: int) -> None:
    """In the supervisor, at the end: nothing of ours is left."""
    directory = os.fsencode(recipe.dir)
    if _is_mounted(directory, recipe):
        device.unmount(directory, lazily=True)
    covering.uncover(directory, recipe.id)
    os.close(fd)
    with suppress(FileNotFoundError):
        below = Held(os.open(directory, _DIRECTORY))
        _remove_kept(below, _kept_name(recipe))


def cover(place: Place, recipe: Recipe) -> None:
    """Shut `dir` off. Our mount does that too, whose server is gone. Who isn't root can't mount: the tree is below
    `hidden`, where others don't come, and stays there."""
    directory = os.fsencode(recipe.dir)
    if os.geteuid() == 0 and not _is_mounted(directory, recipe):
        covering.cover(directory, recipe.id)


def uncover(place: Place, recipe: Recipe) -> None:
    if os.geteuid() == 0:
        covering.uncover(os.fsencode(recipe.dir), recipe.id)


def attach(place: Place, recipe: Recipe, fd: int, fills: Fills) -> BehindFuse:
    """In the filler."""
    return BehindFuse(place, recipe, fd, fills)


class BehindFuse:
    """See engine.fill.base.Mechanism."""

    name = FUSE
    sees_truncation = True

    def __init__(self, place: Place, recipe: Recipe, fd: int, fills: Fills, passes: bool = True) -> None:
        self._place, self._fills = place, fills
        self._directory = os.fsencode(recipe.dir)
        device_fd, memory_fd, below, tree, kept = unpack(fd)
        self._below = Held(below)
        self._reached = dataclasses.replace(
            recipe,
            dir=os.fsdecode(self._below.path),
            hidden=os.fsdecode(self._below.path + b"/" + os.path.basename(os.fsencode(recipe.hidden))),
        )
        self._mount_name = _mount_name(recipe)
        _open_many()
        root = Held(tree)
        if self._moving.exists():
            exposing.move_up(self._reached)
            root = self._below
        elif os.path.samestat(os.fstat(tree), os.fstat(below)):
            root = self._below
        self._nodes = Nodes(root, Held(kept), _kept_name(recipe))
        shared = Memory(memory_fd)
        os.close(memory_fd)
        self._files = OpenFiles(self._nodes, shared, device_fd, fills)
        behind = Behind(self._nodes, self._files, fills, shared, self._below, Waiting(device_fd))
        self._working = Working(device_fd, shared, FillingFilesystem(behind, passes), _tell)
        self._tell_where()

    @property
    def _moving(self) -> Path:
        return self._place.mechanism / _MOVING

    def guard(self) -> None:
        """The mount guards all there is."""

    def expose(self) -> None:
        """The mount shows it."""

    def serve(self) -> None:
        self._working.start()
        device.read_ahead_more(self._directory)

    def open(self, number: int) -> int:
        file = self._fills.file(number)
        if file.handle and os.geteuid() == 0:
            try:
                return open_handle(self._below.fd, file.handle, os.O_RDWR)
            except OSError as error:
                if error.errno not in (errno.ESTALE, errno.EPERM):  # gone, it seems; root, but not of the machine
                    raise
        opened = self._files.one_of(file.ino)
        held = opened.held if opened is not None else self._named(file)
        if file.handle and handle_of(held.fd) != file.handle:
            raise stale()  # it is gone, and another has its number
        return _writable(held)

    def _named(self, file: ColdFile) -> Held:
        """By the name that it was made with, or by where it is now."""
        with suppress(OSError):
            held = Held(os.open(file.path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._nodes.root.fd))
            if os.fstat(held.fd).st_ino == file.ino:
                return held
        return self._nodes.held(file.ino)

    def whole(self, number: int) -> None:
        """From its next opening on the kernel reads and writes it by itself, where it can."""

    def finish(self) -> list[str]:
        """See engine.fill.base.Mechanism; the tree moves up first, while nothing is answered."""
        if self._nodes.root is not self._below:
            with self._working.pause():
                self._moving.touch()
                times = os.fstat(self._nodes.root.fd)
                exposing.move_up(self._reached)
                os.utime(self._below.fd, ns=(times.st_atime_ns, times.st_mtime_ns))
                self._nodes.move_to(self._below)
        if not _mounted_here(self._directory, self._mount_name) or device.unmount(self._directory):
            _remove_kept(self._below, self._nodes.kept_name)
            return []
        return holders(self._directory) or ["someone in another mount namespace"]

    def withdraw(self) -> int:
        if _mounted_here(self._directory, self._mount_name):
            device.unmount(self._directory, lazily=True)
        if self._nodes.root is self._below:
            return exposing.move_down(self._reached)
        return os.open(b".", _DIRECTORY, dir_fd=self._nodes.root.fd)

    def close(self) -> None:
        """Threads end with the mount, or with this process."""

    def _tell_where(self) -> None:
        """For capture, which must not come through the mount: a path to what is below it, good while we live."""
        told = self._place.mechanism / _BELOW
        told.with_suffix(".new").write_text(f"/proc/{os.getpid()}/fd/{self._nodes.root.fd}\n")
        told.with_suffix(".new").replace(told)


def _remove_kept(below: Held, name: bytes) -> None:
    """The directory of files without names goes; the times of the one that it is in stay."""
    before = os.fstat(below.fd)
    with suppress(FileNotFoundError):
        kept = Held(os.open(name, _DIRECTORY, dir_fd=below.fd))
        exposing.empty(kept.fd)
        os.rmdir(name, dir_fd=below.fd)
        os.utime(below.fd, ns=(before.st_atime_ns, before.st_mtime_ns))


def _writable(held: Held) -> int:
    """A descriptor to read and write a file of ours, even when its mode forbids it to its owner too."""
    try:
        return os.open(held.path, os.O_RDWR | os.O_CLOEXEC)
    except PermissionError:
        mode = stat.S_IMODE(os.stat(held.path).st_mode)
        os.chmod(held.path, mode | stat.S_IRUSR | stat.S_IWUSR)
        try:
            return os.open(held.path, os.O_RDWR | os.O_CLOEXEC)
        finally:
            os.chmod(held.path, mode)


def _open_many() -> None:
    """Every file that is open through the mount is open here too."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _tell(error: BaseException) -> None:
    traceback.print_exception(error, file=sys.stderr)


def _kept_name(recipe: Recipe) -> bytes:
    return os.path.basename(os.fsencode(recipe.hidden)) + b".open"


def _mount_name(recipe: Recipe) -> str:
    return f"bcs-{recipe.id}"


def _is_mounted(directory: bytes, recipe: Recipe) -> bool:
    return _mounted_here(directory, _mount_name(recipe))


def _mounted_here(directory: bytes, name: str) -> bool:
    """Whether the uppermost mount at a directory is the one of this name."""
    return covering.uppermost(directory) == name.encode()
