"""Every kind of change shows under the right directory and name: on each file system, through each mechanism."""

from __future__ import annotations

import ctypes
import mmap
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.agent.watch.base import Watcher

TOP, SUB = 1, 2
RENAME_EXCHANGE = 2


def write(path: Path, data: bytes = b"new", flags: int = os.O_WRONLY) -> None:
    fd = os.open(path, flags, 0o644)
    os.write(fd, data)
    os.close(fd)


def with_fd(path: Path, act: Callable[[int], object]) -> None:
    fd = os.open(path, os.O_RDWR)
    act(fd)
    os.close(fd)


def exchange(first: Path, second: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.renameat2(-100, os.fsencode(first), -100, os.fsencode(second), RENAME_EXCHANGE) == 0


def store_through_mapping(path: Path) -> None:
    fd = os.open(path, os.O_RDWR)
    with mmap.mmap(fd, 4096) as mapping:
        os.close(fd)
        mapping[100:104] = b"mmap"


def unnamed_then_linked(directory: Path, name: str) -> None:
    fd = os.open(directory, os.O_TMPFILE | os.O_RDWR, 0o600)
    os.write(fd, b"before")
    os.link(f"/proc/self/fd/{fd}", directory / name, src_dir_fd=fd)  # makes it a linkat that follows
    os.close(fd)


def bound_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(os.fspath(path))


# name: (what happens to root, the (directory, name) that must be dirty)
CHANGES: dict[str, tuple[Callable[[Path], object], set[tuple[int, bytes]]]] = {
    "create": (lambda r: write(r / "n", flags=os.O_CREAT | os.O_WRONLY), {(TOP, b"n")}),
    "write": (lambda r: write(r / "f"), {(TOP, b"f")}),
    "append": (lambda r: write(r / "f", flags=os.O_WRONLY | os.O_APPEND), {(TOP, b"f")}),
    "write below": (lambda r: write(r / "sub/g"), {(SUB, b"g")}),
    "O_TRUNC": (lambda r: write(r / "f", b"", os.O_WRONLY | os.O_TRUNC), {(TOP, b"f")}),
    "truncate by path": (lambda r: os.truncate(r / "f", 10), {(TOP, b"f")}),
    "truncate by fd": (lambda r: with_fd(r / "f", lambda fd: os.ftruncate(fd, 10)), {(TOP, b"f")}),
    "fallocate": (lambda r: with_fd(r / "f", lambda fd: os.posix_fallocate(fd, 0, 65536)), {(TOP, b"f")}),
    "copy_file_range": (
        lambda r: with_fd(r / "sub/g", lambda a: with_fd(r / "f", lambda b: os.copy_file_range(a, b, 100))),
        {(TOP, b"f")},
    ),
    "mmap store": (lambda r: store_through_mapping(r / "f"), {(TOP, b"f")}),
    "rename within": (lambda r: os.rename(r / "f", r / "n"), {(TOP, b"f"), (TOP, b"n")}),
    "rename between": (lambda r: os.rename(r / "f", r / "sub/n"), {(TOP, b"f"), (SUB, b"n")}),
    "rename over": (lambda r: os.rename(r / "f", r / "sub/g"), {(TOP, b"f"), (SUB, b"g")}),
    "rename out": (lambda r: os.rename(r / "f", r.parent / "outside/n"), {(TOP, b"f")}),
    "rename in": (lambda r: os.rename(r.parent / "outside/o", r / "n"), {(TOP, b"n")}),
    "rename directory": (lambda r: os.rename(r / "sub", r / "n"), {(TOP, b"sub"), (TOP, b"n")}),
    "exchange": (lambda r: exchange(r / "f", r / "sub/g"), {(TOP, b"f"), (SUB, b"g")}),
    "exchange file and directory": (lambda r: exchange(r / "f", r / "sub"), {(TOP, b"f"), (TOP, b"sub")}),
    "hard link": (lambda r: os.link(r / "f", r / "sub/n"), {(SUB, b"n")}),
    "symbolic link": (lambda r: os.symlink("nowhere", r / "n"), {(TOP, b"n")}),
    "unlink": (lambda r: os.unlink(r / "f"), {(TOP, b"f")}),
    "mkdir": (lambda r: os.mkdir(r / "sub/n"), {(SUB, b"n")}),
    "rmdir": (lambda r: os.rmdir(r / "sub/empty"), {(SUB, b"empty")}),
    "mkfifo": (lambda r: os.mkfifo(r / "n"), {(TOP, b"n")}),
    "socket": (lambda r: bound_socket(r / "n"), {(TOP, b"n")}),
    "chmod": (lambda r: os.chmod(r / "f", 0o600), {(TOP, b"f")}),
    "chown": (lambda r: os.chown(r / "f", os.geteuid(), os.getegid()), {(TOP, b"f")}),
    "lchown": (lambda r: os.lchown(r / "l", os.geteuid(), os.getegid()), {(TOP, b"l")}),
    "utimens": (lambda r: os.utime(r / "f", ns=(1, 2)), {(TOP, b"f")}),
    "setxattr": (lambda r: os.setxattr(r / "f", "user.a", b"1"), {(TOP, b"f")}),
    "O_TMPFILE and linkat": (lambda r: unnamed_then_linked(r / "sub", "n"), {(SUB, b"n")}),
    "a name that is no text": (
        lambda r: write(r / os.fsdecode(b"\xff\n#"), flags=os.O_CREAT | os.O_WRONLY),
        {(TOP, b"\xff\n#")},
    ),
}


def filled(tree: Path) -> Path:
    root = tree / "root"
    (root / "sub/empty").mkdir(parents=True)
    (tree / "outside").mkdir()
    for path in (root / "f", root / "sub/g", tree / "outside/o"):
        path.write_bytes(b"x" * 8192)
    (root / "l").symlink_to("f")
    return root


def watched(open_each: Callable[..., Watcher], mechanism: str, root: Path) -> Watcher:
    watcher = open_each(mechanism, root)
    watcher.add_directory(TOP, os.fsencode(root))
    watcher.add_directory(SUB, os.fsencode(root / "sub"))
    assert not named(watcher)
    return watcher


def named(watcher: Watcher) -> set[object]:
    """What a drain names. Not the inodes, which other processes on the same file system add to."""
    found = watcher.drain()
    assert not found.overflowed
    return {*found.dirty, *found.self_dirty}


MECHANISMS = pytest.mark.parametrize(
    "mechanism", ["fanotify", "fanotify-directories", "inotify", "fanotify, old", "fanotify-directories, old"]
)


@MECHANISMS
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_shows_where_it_happened(
    tree: Path, open_each: Callable[..., Watcher], mechanism: str, change: str
) -> None:
    root = filled(tree)
    watcher = watched(open_each, mechanism, root)
    act, expected = CHANGES[change]
    act(root)
    assert watcher.wait(5)
    found = watcher.drain()
    assert found.dirty >= expected
    assert not found.overflowed
    assert not named(watcher)


@MECHANISMS
@pytest.mark.parametrize(
    "act", [lambda p: os.chmod(p, 0o700), lambda p: os.utime(p), lambda p: os.setxattr(p, "user.a", b"1")]
)
def test_a_directorys_own_attributes(
    tree: Path, open_each: Callable[..., Watcher], mechanism: str, act: Callable[[Path], object]
) -> None:
    root = filled(tree)
    watcher = watched(open_each, mechanism, root)
    act(root)
    act(root / "sub")
    found = watcher.drain()
    assert found.self_dirty == {TOP, SUB}


@MECHANISMS
def test_nothing_outside_is_reported(tree: Path, open_each: Callable[..., Watcher], mechanism: str) -> None:
    root = filled(tree)
    watcher = watched(open_each, mechanism, root)
    write(tree / "outside/o")
    write(root / "sub/empty/unregistered", flags=os.O_CREAT | os.O_WRONLY)
    assert not named(watcher)


@MECHANISMS
def test_a_mapping_tells_when_it_ends_and_not_before(
    tree: Path, open_each: Callable[..., Watcher], mechanism: str
) -> None:
    root = filled(tree)
    fd = os.open(root / "f", os.O_RDWR)
    watcher = watched(open_each, mechanism, root)
    mapping = mmap.mmap(fd, 4096)
    os.close(fd)
    mapping[:4] = b"mmap"
    mapping.flush()
    assert not watcher.drain().dirty
    mapping.close()
    assert watcher.drain().dirty == {(TOP, b"f")}


@MECHANISMS
def test_a_write_after_unlink_does_no_harm(tree: Path, open_each: Callable[..., Watcher], mechanism: str) -> None:
    root = filled(tree)
    watcher = watched(open_each, mechanism, root)
    fd = os.open(root / "f", os.O_WRONLY)
    os.unlink(root / "f")
    assert (TOP, b"f") in watcher.drain().dirty
    os.write(fd, b"late")
    os.close(fd)
    assert watcher.drain().dirty <= {(TOP, b"f")}
    assert not named(watcher)


@MECHANISMS
def test_a_file_that_got_its_name_later_is_found_by_inode(
    tree: Path, open_each: Callable[..., Watcher], mechanism: str
) -> None:
    root = filled(tree)
    watcher = watched(open_each, mechanism, root)
    fd = os.open(root, os.O_TMPFILE | os.O_RDWR, 0o600)
    os.link(f"/proc/self/fd/{fd}", root / "n", src_dir_fd=fd)  # makes it a linkat that follows
    assert (TOP, b"n") in watcher.drain().dirty
    os.write(fd, b"after")
    found = watcher.drain()
    os.close(fd)
    status = os.stat(root / "n")
    assert (TOP, b"n") in found.dirty or (status.st_dev, status.st_ino) in found.inodes


@MECHANISMS
def test_a_linked_file_is_seen_through_a_name_outside(
    tree: Path, open_each: Callable[..., Watcher], mechanism: str
) -> None:
    root = filled(tree)
    os.link(root / "f", tree / "outside/also-f")
    watcher = watched(open_each, mechanism, root)
    for _ in range(2):
        watcher.add_file(TOP, b"f", os.fsencode(root / "f"))
    write(tree / "outside/also-f")
    assert watcher.drain().dirty == {(TOP, b"f")}
    watcher.remove_file(TOP, b"f")
    watcher.remove_file(TOP, b"f")
    write(tree / "outside/also-f")
    assert not named(watcher)
    with pytest.raises(FileNotFoundError):
        watcher.add_file(TOP, b"none", os.fsencode(root / "none"))


@MECHANISMS
def test_registering(tree: Path, open_each: Callable[..., Watcher], mechanism: str) -> None:
    root = filled(tree)
    watcher = watched(open_each, mechanism, root)
    watcher.add_directory(SUB, os.fsencode(root / "sub"))
    os.rename(root / "sub", root / "moved")
    watcher.drain()
    write(root / "moved/g")
    assert watcher.drain().dirty == {(SUB, b"g")}, "a directory stays registered when it is renamed"

    os.mkdir(root / "sub")
    watcher.add_directory(SUB, os.fsencode(root / "sub"))
    watcher.drain()
    write(root / "moved/g")
    assert not named(watcher), "the number names the new directory only"
    write(root / "sub/h", flags=os.O_CREAT | os.O_WRONLY)
    assert watcher.drain().dirty == {(SUB, b"h")}

    watcher.add_directory(9, os.fsencode(root / "sub"))
    write(root / "sub/h")
    assert watcher.drain().dirty == {(SUB, b"h"), (9, b"h")}, "two numbers for one directory both hear of it"

    watcher.remove_directory(SUB)
    watcher.remove_directory(SUB)
    watcher.remove_directory(12345)
    write(root / "sub/h")
    assert watcher.drain().dirty == {(9, b"h")}
    watcher.remove_directory(9)
    write(root / "sub/h")
    assert not named(watcher)


@MECHANISMS
def test_what_is_no_directory_is_not_there(tree: Path, open_each: Callable[..., Watcher], mechanism: str) -> None:
    root = filled(tree)
    watcher = watched(open_each, mechanism, root)
    (root / "link").symlink_to("sub")
    for name in ("gone", "f", "link", "f/below"):
        with pytest.raises(FileNotFoundError):
            watcher.add_directory(7, os.fsencode(root / name))


@MECHANISMS
def test_a_directory_made_again_under_its_number(tree: Path, open_each: Callable[..., Watcher], mechanism: str) -> None:
    root = filled(tree)
    watcher = watched(open_each, mechanism, root)
    for _ in range(3):
        os.rename(root / "sub", tree / "outside/old")
        os.mkdir(root / "sub")
        watcher.add_directory(SUB, os.fsencode(root / "sub"))
        assert (TOP, b"sub") in watcher.drain().dirty
        write(root / "sub/g", flags=os.O_CREAT | os.O_WRONLY)
        assert watcher.drain().dirty == {(SUB, b"g")}
        os.rename(tree / "outside/old", root / "old")
        for leftover in [root / "old/g", root / "old/empty"]:
            leftover.rmdir() if leftover.is_dir() else leftover.unlink(missing_ok=True)
        os.rmdir(root / "old")
        watcher.drain()
