"""Operations on attributes, and what others than root may do."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

from tests.unit.engine.fill.by_fuse.acts import (
    ACL,
    GROUP,
    OTHER_GROUP,
    PAST,
    USER,
    act,
    failing,
    masked,
    opened,
    user,
)


@act
def change_modes() -> list[object]:
    for mode in (0o4755, 0o2755, 0o2644, 0o1777, 0):
        os.chmod("a", mode)
    os.mkdir("modes", 0o700)
    os.chmod("modes", 0o2770)
    return [failing(lambda: os.chmod("nothing", 0)), oct(os.stat("modes").st_mode)]


@act
def change_owners() -> list[str]:
    found = []
    os.symlink("a", "owned link")
    os.chown("owned link", USER, OTHER_GROUP, follow_symlinks=False)
    for name in ("a", "modes"):
        os.chmod(name, 0o6775)
        os.chown(name, USER, GROUP)
        found.append(oct(os.stat(name).st_mode))
        os.chown(name, -1, OTHER_GROUP)
        os.chown(name, 0, -1)
    return found


@act
def set_times() -> list[object]:
    os.utime("a", ns=(1_234_567_891, PAST + 1))
    os.utime("owned link", ns=(5, 7_000_000_001), follow_symlinks=False)
    os.utime("modes", ns=(-1_500_000_000, -2_500_000_000))
    with opened("c", os.O_RDONLY) as fd:
        os.utime(fd, ns=(11, 13))
    os.utime("b")
    statuses = [os.lstat(name) for name in ("a", "owned link", "modes", "c")]
    return [(status.st_atime_ns, status.st_mtime_ns) for status in statuses]


@act
def extended_attributes() -> list[object]:
    os.setxattr("a", "user.one", b"1")
    os.setxattr("a", "user.two", b"", os.XATTR_CREATE)
    os.setxattr("a", "trusted.three", b"3" * 2000)
    found = [
        sorted(os.listxattr("a")),
        os.getxattr("a", "user.one"),
        os.getxattr("a", "user.two"),
        failing(lambda: os.setxattr("a", "user.one", b"2", os.XATTR_CREATE)),
        failing(lambda: os.setxattr("a", "user.none", b"2", os.XATTR_REPLACE)),
        failing(lambda: os.getxattr("a", "user.none")),
        failing(lambda: os.removexattr("a", "user.none")),
        failing(lambda: os.setxattr("owned link", "user.x", b"", follow_symlinks=False)),
        failing(lambda: os.setxattr("a", "nonsense", b"")),
    ]
    os.setxattr("owned link", "trusted.link", b"l", follow_symlinks=False)
    os.removexattr("a", "user.two")
    os.setxattr("modes", "user.of a directory", b"d")
    return found


@act
def access_lists() -> list[object]:
    os.chmod("c", 0o600)
    os.setxattr("c", "system.posix_acl_access", ACL)
    mode = oct(os.stat("c").st_mode)
    os.chmod("c", 0o710)
    changed = os.getxattr("c", "system.posix_acl_access")
    with user():
        read = failing(lambda: os.open("c", os.O_RDONLY)) if not os.access("c", os.R_OK) else "may"
    os.chmod("c", 0o770)
    with user(), opened("c", os.O_RDONLY) as fd:
        return [mode, changed, read, len(os.read(fd, 10)), failing(lambda: os.open("c", os.O_RDWR))]


@act
def lists_that_are_inherited() -> object:
    os.mkdir("inherits")
    os.setxattr("inherits", "system.posix_acl_default", ACL)
    with masked(0o077):
        Path("inherits/file").write_text("x")
        os.mkdir("inherits/below")
    return [
        (os.getxattr(f"inherits/{name}", "system.posix_acl_access"), oct(os.stat(f"inherits/{name}").st_mode))
        for name in ("file", "below")
    ]


@act
def what_the_root_passes_on() -> object:
    os.chown(".", -1, OTHER_GROUP)
    os.chmod(".", 0o2755)
    os.setxattr(".", "system.posix_acl_default", ACL)
    Path("in the root").write_text("x")
    os.mkdir("also in the root")
    found = [os.getxattr(name, "system.posix_acl_access") for name in ("in the root", "also in the root")]
    groups = [os.stat(name).st_gid for name in ("in the root", "also in the root")]
    os.removexattr(".", "system.posix_acl_default")
    os.chmod(".", 0o755)
    os.chown(".", -1, 0)
    Path("later").write_text("x")
    return found, groups, oct(os.stat(".").st_mode), os.listxattr("."), os.stat("later").st_gid


@act
def writing_takes_privileges_away() -> list[str]:
    found = []
    for mode in (0o6777, 0o2767, 0o4777):
        Path("program").write_text("#!/bin/sh\n")
        os.chmod("program", mode)
        with user(), opened("program", os.O_WRONLY) as fd:
            os.write(fd, b"#")
        found.append(oct(os.stat("program").st_mode))
        os.chmod("program", mode)
        with user():
            os.truncate("program", 3)
        found.append(oct(os.stat("program").st_mode))
        os.chmod("program", mode)
        Path("program").write_text("by root\n")
        found.append(oct(os.stat("program").st_mode))
    os.setxattr("program", "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))
    with opened("program", os.O_WRONLY) as fd:
        os.write(fd, b"x")
    return [*found, failing(lambda: os.getxattr("program", "security.capability"))]


@act
def made_by_a_user() -> list[object]:
    os.mkdir("shared")
    os.chmod("shared", 0o777)
    os.mkdir("set group")
    os.chown("set group", -1, OTHER_GROUP)
    os.chmod("set group", 0o2777)
    with user():
        for directory in ("shared", "set group"):
            Path(directory, "file").write_text("mine")
            os.mkdir(f"{directory}/directory")
            os.symlink("x", f"{directory}/link")
            os.mkfifo(f"{directory}/fifo")
            with opened(f"{directory}/program", os.O_CREAT | os.O_WRONLY, 0o6755):
                pass
    found = []
    for directory in ("shared", "set group"):
        for name in sorted(os.listdir(directory)):
            status = os.lstat(f"{directory}/{name}")
            found.append((name, status.st_uid, status.st_gid, oct(status.st_mode)))
    return found


@act
def forbidden_to_a_user() -> list[str]:
    os.mkdir("private", 0o700)
    Path("private/file").write_text("secret")
    os.mkdir("sticky")
    os.chmod("sticky", 0o1777)
    Path("sticky/roots").write_text("root's")
    os.chmod("a", 0o600)
    with user():
        return [
            failing(lambda: os.listdir("private")),
            failing(lambda: os.stat("private/file")),
            failing(lambda: os.open("a", os.O_RDONLY)),
            failing(lambda: os.unlink("sticky/roots")),
            failing(lambda: os.rename("sticky/roots", "sticky/mine")),
            failing(lambda: os.chmod("a", 0o777)),
            failing(lambda: os.chown("shared/file", 0, 0)),
            failing(lambda: os.chown("shared/file", -1, OTHER_GROUP)),
            failing(lambda: os.utime("readonly", ns=(1, 1))),
            failing(lambda: os.truncate("a", 0)),
            failing(lambda: os.mknod("shared/device", stat.S_IFCHR | 0o666, os.makedev(1, 3))),
            failing(lambda: os.setxattr("shared/file", "trusted.x", b"")),
            failing(lambda: os.mkdir("private/x")),
            failing(lambda: os.link("a", "shared/a")),
        ]


@act
def allowed_to_a_group() -> object:
    Path("for a group").write_text("group")
    os.chown("for a group", 0, OTHER_GROUP)
    os.chmod("for a group", 0o060)
    with user((OTHER_GROUP,)), opened("for a group", os.O_RDWR) as fd:
        os.write(fd, b"GROUP")
        return os.pread(fd, 10, 0)


@act
def locks() -> list[str]:
    with opened("a", os.O_RDWR) as one, opened("a", os.O_RDWR) as other:
        fcntl.flock(one, fcntl.LOCK_EX)
        held = failing(lambda: fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB))
        fcntl.flock(one, fcntl.LOCK_UN)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.lockf(one, fcntl.LOCK_EX, 10, 0)
        pid = os.fork()
        if not pid:
            os._exit(int(failing(lambda: fcntl.lockf(other, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 3)) != "EAGAIN"))
        _, status = os.waitpid(pid, 0)
        return [held, str(status)]
