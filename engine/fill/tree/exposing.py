"""A tree made in `hidden`, below the directory where it is wanted, moves up when all of it is guarded; down again when
it is to go. One file system, so files and their marks stay what they are."""

from __future__ import annotations

import os
from contextlib import suppress

from engine.fill.base import Recipe


def move_up(recipe: Recipe) -> None:
    """Every name of `hidden` into `dir`, whose times stay. Who was interrupted goes on here."""
    before = os.stat(recipe.dir)
    _move(os.fsencode(recipe.hidden), os.fsencode(recipe.dir))
    with suppress(FileNotFoundError):
        os.rmdir(recipe.hidden)
    os.utime(recipe.dir, ns=(before.st_atime_ns, before.st_mtime_ns))


def move_down(recipe: Recipe) -> int:
    """Every name of `dir` into `hidden`, which only its owner reaches; a descriptor of that."""
    hidden, name = os.fsencode(recipe.hidden), os.path.basename(os.fsencode(recipe.hidden))
    with suppress(FileExistsError):
        os.mkdir(hidden, 0o700)
    _move(os.fsencode(recipe.dir), hidden, but=name)
    return os.open(hidden, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def empty(fd: int) -> None:
    """Remove all that is in an open directory, what is mounted below excepted: that is an OSError. Follows no link."""
    for name in os.listdir(fd):
        try:
            os.unlink(name, dir_fd=fd)
        except IsADirectoryError:
            below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            try:
                empty(below)
            finally:
                os.close(below)
            os.rmdir(name, dir_fd=fd)


def _move(source: bytes, target: bytes, but: bytes = b"") -> None:
    try:
        names = os.listdir(source)
    except FileNotFoundError:
        return
    for name in names:
        if name != but:
            os.rename(source + b"/" + name, target + b"/" + name)
