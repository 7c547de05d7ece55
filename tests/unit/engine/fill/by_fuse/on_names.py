"""Operations on names."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

from tests.unit.engine.fill.by_fuse.acts import (
    act,
    failing,
    masked,
    opened,
    renameat2,
)


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
