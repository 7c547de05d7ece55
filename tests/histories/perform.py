"""Carry out one operation, by the system calls that its name says. OSError where it can't be."""

from __future__ import annotations

import ctypes
import mmap
import os
import random

from tests.histories.operations import Operation

_libc = ctypes.CDLL(None, use_errno=True)
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_PUNCH_HOLE_KEEP_SIZE = 3
_WRITE_BACK = 7
"""Of sync_file_range(2): wait for what is being written, write what is dirty, wait for that."""

_OPEN = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def perform(base: str, one: Operation) -> None:
    """Do it below `base`."""
    _ACTS[one.name](f"{base}/{one.path}", f"{base}/{one.other}", one)


def _bytes(one: Operation) -> bytes:
    return random.Random(one.number).randbytes(one.length)


def _create(path: str, other: str, one: Operation) -> None:
    fd = os.open(path, _OPEN | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        os.write(fd, _bytes(one))
    finally:
        os.close(fd)


def _write(path: str, other: str, one: Operation) -> None:
    fd = os.open(path, _OPEN)
    try:
        os.pwrite(fd, _bytes(one), one.offset)
    finally:
        os.close(fd)


def _punch(path: str, other: str, one: Operation) -> None:
    fd = os.open(path, _OPEN)
    try:
        done = _libc.fallocate(fd, _PUNCH_HOLE_KEEP_SIZE, ctypes.c_long(one.offset), ctypes.c_long(one.length))
        _check(done)
    finally:
        os.close(fd)


def _mmap(path: str, other: str, one: Operation) -> None:
    fd = os.open(path, _OPEN)
    try:
        size = os.fstat(fd).st_size
        offset = one.offset if one.offset < size else 0
        if one.other == "clean":
            _check(_libc.sync_file_range(fd, ctypes.c_long(0), ctypes.c_long(0), _WRITE_BACK))
        if size:
            with mmap.mmap(fd, size) as mapped:
                end = min(offset + one.length, size)
                mapped[offset:end] = _bytes(one)[: end - offset]
    finally:
        os.close(fd)


def _tmpfile(path: str, other: str, one: Operation) -> None:
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        fd = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o640, dir_fd=directory)
        try:
            os.write(fd, _bytes(one))
            os.link(f"/proc/self/fd/{fd}", path, src_dir_fd=directory, dst_dir_fd=directory)
        finally:
            os.close(fd)
    finally:
        os.close(directory)


def _copy(path: str, other: str, one: Operation) -> None:
    source = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        target = os.open(other, _OPEN | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            left = os.fstat(source).st_size
            while left > 0:
                left -= os.copy_file_range(source, target, left) or left
        finally:
            os.close(target)
    finally:
        os.close(source)


def _exchange(path: str, other: str, one: Operation) -> None:
    _check(_libc.renameat2(_AT_FDCWD, os.fsencode(path), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE))


def _check(done: int) -> None:
    if done != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _setxattr(path: str, other: str, one: Operation) -> None:
    os.setxattr(path, one.other, _bytes(one), follow_symlinks=False)


_ACTS = {
    "create": _create,
    "write": _write,
    "truncate": lambda path, other, one: os.truncate(path, one.length),
    "punch": _punch,
    "mmap": _mmap,
    "tmpfile": _tmpfile,
    "copy": _copy,
    "link": lambda path, other, one: os.link(path, other, follow_symlinks=False),
    "symlink": lambda path, other, one: os.symlink(one.other, path),
    "fifo": lambda path, other, one: os.mkfifo(path, 0o600),
    "unlink": lambda path, other, one: os.unlink(path),
    "mkdir": lambda path, other, one: os.mkdir(path, 0o755),
    "rmdir": lambda path, other, one: os.rmdir(path),
    "rename": lambda path, other, one: os.rename(path, other),
    "exchange": _exchange,
    "chmod": lambda path, other, one: os.chmod(path, one.number),
    "chown": lambda path, other, one: os.chown(path, one.number, one.number, follow_symlinks=False),
    "utimens": lambda path, other, one: os.utime(path, ns=(1, one.number), follow_symlinks=False),
    "setxattr": _setxattr,
    "removexattr": lambda path, other, one: os.removexattr(path, one.other, follow_symlinks=False),
}
