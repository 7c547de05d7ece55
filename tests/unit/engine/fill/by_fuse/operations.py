"""A list of file operations, one after the other in a directory; what each said, and what the tree was afterwards.

Run as a program: `operations.py DIR` prints a JSON list of [name, result, tree]. Nothing in it is peculiar to a
machine, a time, or a file system: two directories that behave alike give equal lists.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import json
import mmap
import os
import socket
import stat
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

PAST = 1_000_000_000_123_456_789
USER, GROUP, OTHER_GROUP = 12345, 23456, 34567
_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
Act = Callable[[], object]
ACTS: list[tuple[str, Act]] = []


def act(function: Act) -> Act:
    ACTS.append((function.__name__, function))
    return function


def renameat2(old: str, new: str, flags: int) -> None:
    if _libc.renameat2(-100, os.fsencode(old), -100, os.fsencode(new), flags) < 0:
        raise OSError(ctypes.get_errno(), "renameat2")


def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    if _libc.fallocate(fd, mode, offset, length) < 0:
        raise OSError(ctypes.get_errno(), "fallocate")


@contextmanager
def opened(path: str, flags: int, mode: int = 0o644) -> Iterator[int]:
    fd = os.open(path, flags, mode)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def user(groups: tuple[int, ...] = ()) -> Iterator[None]:
    os.setgroups(groups)
    os.setegid(GROUP)
    os.seteuid(USER)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups([])


@contextmanager
def masked(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def failing(action: Act) -> str:
    try:
        return f"no error: {action()!r}"
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def acl(*entries: tuple[int, int, int]) -> bytes:
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


NOBODY = 0xFFFFFFFF
ACL = acl((1, 7, NOBODY), (2, 5, USER), (4, 5, NOBODY), (16, 7, NOBODY), (32, 0, NOBODY))


# Files


@act
def make_files() -> None:
    for name, size in (("a", 0), ("b", 5), ("c", 100_000), ("big", 5_000_000)):
        Path(name).write_bytes(bytes(range(256)) * (size // 256) + bytes(size % 256))


@act
def create_modes() -> list[str]:
    found = []
    for number, (mode, mask) in enumerate([(0o666, 0o022), (0o777, 0o077), (0o4755, 0), (0o2710, 0), (0o1600, 0)]):
        with masked(mask), opened(f"mode{number}", os.O_CREAT | os.O_WRONLY, mode) as fd:
            found.append(oct(os.fstat(fd).st_mode))
    return found


@act
def create_exclusive() -> list[str]:
    return [failing(partial(os.open, name, os.O_CREAT | os.O_EXCL | os.O_WRONLY)) for name in ("a", "big")]


@act
def create_without_permission_to_write() -> bytes:
    with opened("readonly", os.O_CREAT | os.O_RDWR, 0o400) as fd:
        os.write(fd, b"written all the same")
        return os.pread(fd, 100, 0)


@act
def create_in_what_is_no_directory() -> list[str]:
    return [failing(partial(os.open, name, os.O_CREAT | os.O_WRONLY)) for name in ("b/x", "nothing/x", "n" * 256)]


@act
def write_append() -> object:
    with opened("b", os.O_WRONLY | os.O_APPEND) as fd:
        os.write(fd, b"appended")
        os.pwrite(fd, b"too", 0)
        return os.lseek(fd, 0, os.SEEK_CUR), os.fstat(fd).st_size


@act
def write_in_pieces() -> None:
    with opened("c", os.O_RDWR) as fd:
        for offset in (1, 4095, 4097, 8191, 65536, 99_990, 150_000):
            os.pwrite(fd, b"piece" * 10, offset)


@act
def write_large() -> None:
    with opened("large", os.O_CREAT | os.O_WRONLY) as fd:
        assert os.write(fd, b"0123456789abcdef" * 300_000) == 4_800_000


@act
def write_nothing() -> int:
    with opened("a", os.O_WRONLY) as fd:
        return os.write(fd, b"")


@act
def read_past_the_end() -> list[int]:
    with opened("b", os.O_RDONLY) as fd:
        return [len(os.pread(fd, size, offset)) for size, offset in ((100, 0), (100, 10), (100, 100), (1 << 20, 3))]


@act
def read_what_is_for_writing() -> str:
    with opened("b", os.O_WRONLY) as fd:
        return failing(lambda: os.read(fd, 1))


@act
def write_what_is_for_reading() -> str:
    with opened("b", os.O_RDONLY) as fd:
        return failing(lambda: os.write(fd, b"x"))


@act
def write_synchronously() -> None:
    with opened("sync", os.O_CREAT | os.O_WRONLY | os.O_SYNC) as fd:
        os.write(fd, b"sync")
        os.fsync(fd)
        os.fdatasync(fd)
    with opened(".", os.O_RDONLY | os.O_DIRECTORY) as fd:
        os.fsync(fd)


@act
def direct() -> object:
    room = mmap.mmap(-1, 8192)
    room[:] = b"d" * 8192
    with opened("direct", os.O_CREAT | os.O_RDWR | os.O_DIRECT) as fd:
        os.pwrite(fd, room, 4096)
        got = mmap.mmap(-1, 4096)
        return os.preadv(fd, [got], 4096), bytes(got) == b"d" * 4096


@act
def map_shared() -> None:
    with opened("mapped", os.O_CREAT | os.O_RDWR) as fd:
        os.ftruncate(fd, 10_000)
        with mmap.mmap(fd, 10_000) as mapped:
            mapped[5000:5005] = b"store"
            mapped.flush()
            assert os.pread(fd, 5, 5000) == b"store"
            os.pwrite(fd, b"write", 9000)
            assert mapped[9000:9005] == b"write"


@act
def map_what_was_there() -> int:
    Path("c").touch()
    os.utime("c", ns=(PAST, PAST))
    before = os.stat("c").st_mtime_ns
    with opened("c", os.O_RDWR) as fd, mmap.mmap(fd, 4096) as mapped:
        mapped[10:20] = b"stored in c"[:10]
        mapped.flush()
        assert os.stat("c").st_mtime_ns != before
    return before


@act
def map_privately() -> bytes:
    with opened("c", os.O_RDONLY) as fd, mmap.mmap(fd, 0, prot=mmap.PROT_READ | mmap.PROT_WRITE, flags=2) as mapped:
        mapped[0:7] = b"private"
        return mapped[4090:4100]


@act
def truncate() -> list[object]:
    os.truncate("c", 50_001)
    with opened("c", os.O_RDWR) as fd:
        os.ftruncate(fd, 60_000)
        tail = os.pread(fd, 100_000, 50_000) == b"\x52" + bytes(9_999) or os.pread(fd, 20, 49_999)
    os.truncate("b", 3)
    with opened("big", os.O_RDWR | os.O_TRUNC) as fd:
        return [str(tail), os.fstat(fd).st_size, failing(lambda: os.truncate("nothing", 1))]


@act
def truncate_what_is_open() -> object:
    with opened("b", os.O_RDWR) as fd, opened("b", os.O_RDONLY) as other:
        os.pread(other, 10, 0)
        os.ftruncate(fd, 1)
        return os.pread(other, 10, 0), os.fstat(other).st_size


@act
def allocate() -> list[object]:
    with opened("room", os.O_CREAT | os.O_RDWR) as fd:
        os.posix_fallocate(fd, 0, 20_000)
        os.pwrite(fd, b"x" * 20_000, 0)
        fallocate(fd, 1, 0, 100_000)
        fallocate(fd, 3, 4096, 8192)
        fallocate(fd, 0x10, 100, 200)
        return [
            os.fstat(fd).st_size,
            failing(lambda: fallocate(fd, 0, -1, 10)),
            failing(lambda: fallocate(fd, 2, 0, 10)),
        ]


@act
def seek_data_and_holes() -> list[object]:
    with opened("holes", os.O_CREAT | os.O_RDWR) as fd:
        os.ftruncate(fd, 1 << 20)
        os.pwrite(fd, b"data", 1 << 19)
        os.fsync(fd)
        return [
            *(os.lseek(fd, 0, os.SEEK_DATA), os.lseek(fd, 1 << 19, os.SEEK_HOLE), os.lseek(fd, 0, os.SEEK_HOLE)),
            failing(lambda: os.lseek(fd, 1 << 20, os.SEEK_DATA)),
            failing(lambda: os.lseek(fd, (1 << 19) + 8192, os.SEEK_DATA)),
        ]


@act
def copy_ranges() -> object:
    with opened("c", os.O_RDONLY) as source, opened("copied", os.O_CREAT | os.O_RDWR) as target:
        done = os.copy_file_range(source, target, 30_000, 100, 5)
        return done, os.sendfile(target, source, 0, 1000), os.copy_file_range(source, target, 10, 1 << 30)


# Attributes


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


# Names


@act
def directories() -> list[object]:
    os.mkdir("d")
    with masked(0o027):
        os.mkdir("d/e", 0o1777)
    Path("d/e/file").write_text("f")
    return [
        failing(lambda: os.mkdir("d")),
        failing(lambda: os.rmdir("d")),
        failing(lambda: os.rmdir("a")),
        failing(lambda: os.unlink("d")),
        failing(lambda: os.rmdir("nothing")),
        os.stat("d").st_nlink,
        sorted(os.listdir("d")),
    ]


@act
def symlinks() -> list[object]:
    os.symlink("d/e", "to e")
    os.symlink("l" * 3000, "long")
    os.symlink("nowhere", "dangling")
    os.symlink("loop", "loop")
    return [
        os.readlink("long"),
        Path("to e/file").read_text(),
        failing(lambda: os.open("dangling", os.O_RDONLY)),
        failing(lambda: os.open("loop", os.O_RDONLY)),
        failing(lambda: os.open("to e", os.O_RDONLY | os.O_NOFOLLOW)),
        failing(lambda: os.symlink("x", "dangling")),
        failing(lambda: os.readlink("a")),
    ]


@act
def other_kinds() -> list[object]:
    os.mkfifo("fifo", 0o640)
    os.mknod("null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod("block", stat.S_IFBLK | 0o600, os.makedev(259, 70_000))
    os.mknod("plain node", stat.S_IFREG | 0o604)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket")
    with opened("null", os.O_RDWR) as fd:
        return [os.write(fd, b"gone"), os.read(fd, 10), failing(lambda: os.mkfifo("fifo"))]


@act
def hard_links() -> list[object]:
    os.link("b", "b2")
    os.link("b", "d/b3")
    os.link("fifo", "fifo2")
    os.link("dangling", "dangling2", follow_symlinks=False)
    Path("b2").write_text("through another name")
    same = os.path.samefile("b", "d/b3")
    os.unlink("b")
    return [
        same,
        os.stat("b2").st_nlink,
        Path("d/b3").read_text(),
        failing(lambda: os.link("d", "d2")),
        failing(lambda: os.link("b2", "a")),
        failing(lambda: os.link("nothing", "x")),
    ]


@act
def renames() -> list[object]:
    os.rename("b2", "b4")
    os.rename("b4", "d/e/b5")
    os.rename("d/e", "moved")
    os.rename("d/b3", "moved/b5")
    os.mkdir("empty")
    os.rename("empty", "modes")
    Path("over").write_text("over")
    os.rename("over", "readonly")
    return [
        sorted(os.listdir("moved")),
        failing(lambda: os.rename("moved", "d/b")),
        failing(lambda: os.rename("nothing", "x")),
        failing(lambda: os.rename("d", "moved")),
        failing(lambda: os.rename("a", "d")),
        failing(lambda: os.rename("d", "a")),
        failing(lambda: os.rename("d", "d/below")),
        failing(lambda: os.rename("d", "n" * 256)),
    ]


@act
def renames_with_flags() -> list[object]:
    Path("x").write_text("x")
    Path("y").write_text("y")
    renameat2("x", "y", 2)
    renameat2("y", "d", 2)
    renameat2("d", "new", 1)
    return [
        Path("x").read_text(),
        Path("new").read_text(),
        os.path.isdir("y"),
        failing(lambda: renameat2("x", "new", 1)),
        failing(lambda: renameat2("x", "nothing", 2)),
        failing(lambda: renameat2("x", "new", 3)),
    ]


@act
def unlink_what_is_open() -> list[object]:
    Path("open").write_text("still there")
    with opened("open", os.O_RDWR) as fd:
        os.unlink("open")
        os.pwrite(fd, b"STILL", 0)
        os.fchmod(fd, 0o640)
        os.ftruncate(fd, 9)
        gone = os.fstat(fd)
        Path("open").write_text("another")
        with opened(f"/proc/self/fd/{fd}", os.O_RDONLY) as again:
            read = os.read(again, 100)
        return [gone.st_nlink, gone.st_size, oct(gone.st_mode), os.pread(fd, 100, 0), read]


@act
def replace_what_is_open() -> list[object]:
    Path("old").write_text("old")
    Path("young").write_text("young")
    with opened("old", os.O_RDONLY) as fd:
        os.rename("young", "old")
        return [os.read(fd, 10), os.fstat(fd).st_nlink, Path("old").read_text(), os.path.exists("young")]


@act
def remove_a_directory_that_is_open() -> list[object]:
    os.mkdir("open directory")
    with opened("open directory", os.O_RDONLY | os.O_DIRECTORY) as fd:
        os.rmdir("open directory")
        return [
            os.listdir(fd),
            failing(lambda: os.open("x", os.O_CREAT | os.O_WRONLY, dir_fd=fd)),
            os.fstat(fd).st_nlink,
        ]


@act
def files_without_names() -> list[object]:
    with opened(".", os.O_TMPFILE | os.O_RDWR, 0o640) as fd:
        os.write(fd, b"nameless")
        links = os.fstat(fd).st_nlink
        with opened(".", os.O_RDONLY) as here:
            os.link(f"/proc/self/fd/{fd}", "named", dst_dir_fd=here, follow_symlinks=True)
        after = os.fstat(fd).st_nlink
    with opened("modes", os.O_TMPFILE | os.O_RDWR, 0o640) as fd:
        os.write(fd, b"goes")
    return [links, after, Path("named").read_text()]


@act
def stand_in_what_is_removed() -> list[object]:
    os.mkdir("here")
    before = os.open(".", os.O_RDONLY)
    os.chdir("here")
    os.rmdir("../here")
    found = [failing(lambda: os.open("file", os.O_CREAT | os.O_WRONLY)), os.listdir("."), os.stat(".").st_nlink]
    os.fchdir(before)
    os.close(before)
    return found


@act
def deep() -> int:
    before = os.open(".", os.O_RDONLY)
    for _ in range(35):
        os.mkdir("n" * 100)
        os.chdir("n" * 100)
    Path("bottom").write_text("deep")
    size = os.stat("bottom").st_size
    os.fchdir(before)
    os.close(before)
    return size


@act
def odd_names() -> list[str]:
    for name in (b"new\nline", b"\xff\xfe", b" ", b"-rf", "ü".encode(), b"n" * 255):
        with open(name, "wb") as file:
            file.write(name)
    return sorted(os.listdir("."))


@act
def many_names() -> list[object]:
    os.mkdir("many")
    for number in range(700):
        with opened(f"many/{number}", os.O_CREAT | os.O_WRONLY):
            pass
    listed = sorted(os.listdir("many"))
    with os.scandir("many") as listing:
        for number, entry in enumerate(listing):
            if number % 2:
                os.unlink(entry.path)
    return [len(listed), len(set(listed)), len(os.listdir("many"))]


# As somebody else


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


# Locks


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


def tree() -> list[object]:
    """All that is there, with what an application can see of it."""
    found: list[object] = []
    first: dict[int, str] = {}
    for base, directories, names in os.walk(".", topdown=True):
        directories.sort()
        if base.count("n" * 100) > 3:
            directories.clear()
        for name in sorted([*names, *directories]) if base != "./many" else []:
            path = os.path.join(base, name)
            status = os.lstat(path)
            content = ""
            if stat.S_ISREG(status.st_mode):
                with open(path, "rb") as file:
                    content = hashlib.sha256(file.read()).hexdigest()[:16]
            elif stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            kept = {
                key: os.getxattr(path, key, follow_symlinks=False).hex()
                for key in os.listxattr(path, follow_symlinks=False)
            }
            found.append(
                [
                    *(path, oct(status.st_mode), status.st_uid, status.st_gid, status.st_nlink, status.st_rdev),
                    *(0 if stat.S_ISDIR(status.st_mode) else status.st_size, status.st_mtime_ns == PAST, content, kept),
                    first.setdefault(status.st_ino, path),
                ]
            )
    return found


def age() -> None:
    """Give everything one time of change, so that what is changed next shows."""
    for base, directories, names in os.walk(".", topdown=False):
        for name in [*names, *directories]:
            os.utime(os.path.join(base, name), ns=(PAST, PAST), follow_symlinks=False)


def run(directory: str) -> list[object]:
    os.chdir(directory)
    os.umask(0o022)
    done: list[object] = []
    for name, action in ACTS:
        age()
        try:
            result: object = repr(action())
        except OSError as error:
            result = f"{errno.errorcode.get(error.errno or 0)}: {error.filename}"
        done.append([name, result, tree()])
    return done


if __name__ == "__main__":
    json.dump(run(sys.argv[1]), sys.stdout)
