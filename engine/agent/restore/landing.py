"""The directory that a restore lands in: looked at before it is touched, held fast while it is filled.

While it is filled the directory is ours alone, and it is reached through a descriptor: nobody can look in before the
modes below are as they were, and nobody who may rename what lies above can lead us elsewhere.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.drivers.files import within
from engine.model.errors import Refused, UsageError
from engine.tree.paths import shown
from engine.tree.target import check_target

_LIBRARIES = (b"apt", b"cloud", b"containers", b"dbus", b"docker", b"dpkg", b"kubelet", b"NetworkManager", b"pam",
              b"polkit-1", b"private", b"rpm", b"snapd", b"sudo", b"systemd", b"ucf")  # fmt: skip
SYSTEM = (b"/bin", b"/boot", b"/dev", b"/etc", b"/lib", b"/lib32", b"/lib64", b"/libx32", b"/nix", b"/proc", b"/root",
          b"/run", b"/sbin", b"/snap", b"/sys", b"/usr", b"/var/cache", b"/var/log", b"/var/mail", b"/var/spool",
          *(b"/var/lib/" + name for name in _LIBRARIES))  # fmt: skip
"""What the system itself runs from: nothing is restored to there from afar."""


@dataclass(frozen=True, slots=True)
class Before:
    """What the directory was before it was taken; `made` says that it was not there. `real` is its name without
    symbolic links (os.fsdecode), `inode` its number: by them a later run knows it again."""

    made: bool
    uid: int
    gid: int
    mode: int
    real: str = ""
    inode: int = 0


@dataclass(frozen=True, slots=True)
class Landing:
    """A directory that was taken: `path` is its name, `held` the descriptor's, which nobody can exchange."""

    path: bytes
    fd: int
    before: Before

    @property
    def held(self) -> bytes:
        return b"/proc/self/fd/%d" % self.fd

    def named(self, path: bytes) -> bytes:
        """A path below `held` by the name that people know."""
        return self.path + path.removeprefix(self.held).removesuffix(b"/.")


def check(
    target: bytes, own: Iterable[bytes], protected: Iterable[bytes], *, guarded: bool = True, empty: bool = True
) -> bytes:
    """The directory that the target names, symbolic links followed; that and no other may be taken.

    Refused where nothing may be restored to: what holds the agent's own files (`own`) or something that is protected,
    with `guarded` what is the system's, with `empty` what is not empty. UsageError for a path that makes no sense."""
    if not target.startswith(b"/") or b"\0" in target or {b".", b".."} & set(target.split(b"/")):
        raise UsageError(f"'{shown(target)}' is not an absolute path", hint="write --to HOST:/the/whole/path")
    real = os.path.realpath(target)
    for path in own:
        if _touch(real, os.path.realpath(path)):
            raise Refused(
                f"{shown(target)} is where this program keeps its own files ({shown(path)})", hint="name another place"
            )
    for path in protected:
        if _touch(real, os.path.realpath(path)):
            raise Refused(
                f"{shown(target)} is protected itself, or holds what is ({shown(path)}): "
                "what is restored there would become new history",
                hint="restore beside it, or --in-place to where it came from; --into-protected does it all the same",
            )
    if guarded and (any(within(real, path) for path in SYSTEM) or real == b"/"):
        raise Refused(f"{shown(target)} belongs to the system itself", hint="name a directory below /srv or /var/tmp")
    if guarded and any(name.startswith(b".") for name in real.split(b"/")):
        raise Refused(f"{shown(target)} is a hidden place, such as keys are kept in", hint="name another directory")
    if empty:
        check_target(Path(os.fsdecode(real)))
    return real


def hold(real: bytes) -> int:
    """A descriptor of the directory of that name, which leads to it through no link. Refused where it is another."""
    fd = os.open(real, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    if os.readlink(b"/proc/self/fd/%d" % fd) != real:
        os.close(fd)
        raise _exchanged(real)
    return fd


def take(target: bytes, before: Before | None, looked: bytes | None = None) -> Landing:
    """Make the directory or take it as it is, for us alone. `looked` is what `check` has found it to be; `before` is
    given when it was taken by an earlier run.

    Refused when it is not what was looked at any more, wherever a link leads to by now. OSError when it can't be taken.
    """
    target = target.rstrip(b"/") or b"/"
    expected = os.fsencode(before.real) if before is not None and before.real else looked
    real = os.path.realpath(target)
    if expected is not None and real != expected:
        raise _exchanged(target)
    made = False
    if before is None:
        os.makedirs(os.path.dirname(real), exist_ok=True)
        try:
            os.mkdir(real)
            made = True
        except FileExistsError:
            pass
    fd = os.open(real, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.readlink(b"/proc/self/fd/%d" % fd) != real or (before is None and os.listdir(fd)):
            raise _exchanged(target)
        status = os.fstat(fd)
        if before is None:
            mode = stat.S_IMODE(status.st_mode)
            before = Before(made, status.st_uid, status.st_gid, mode, os.fsdecode(real), status.st_ino)
        elif before.inode and before.inode != status.st_ino:
            raise _exchanged(target)
        os.fchmod(fd, 0o700)
        if os.fstat(fd).st_uid != os.geteuid():
            os.fchown(fd, os.geteuid(), -1)
    except BaseException:
        os.close(fd)
        raise
    return Landing(target, fd, before)


def give_back(landing: Landing, attributes_set: bool) -> None:
    """The directory as it was taken, unless the restore gave it attributes; the end of the landing."""
    try:
        if not attributes_set or not landing.before.made:
            os.fchown(landing.fd, landing.before.uid, landing.before.gid)
            os.fchmod(landing.fd, landing.before.mode)
    finally:
        os.close(landing.fd)


def before_json(before: Before) -> dict[str, Any]:
    return asdict(before)


def _exchanged(target: bytes) -> Refused:
    return Refused(f"{shown(target)} was exchanged or filled meanwhile", hint="restore to another directory")


def _touch(one: bytes, other: bytes) -> bool:
    return within(one, other) or within(other, one)
