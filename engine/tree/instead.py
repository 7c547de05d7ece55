"""Changing a tree where it stands: put something in the place of what is there, in one step; take something away."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from engine.env import randomness
from engine.model.events import DIRECTORY, FILE
from engine.tree.apply import Shortfall, link
from engine.tree.attributes import CannotRead, read_attributes

GONE = (errno.ENOENT, errno.ENOTDIR)


def put(path: bytes, make_at: Callable[[bytes], None], beside: bytes = b"") -> None:
    """Make something `beside` the path and put it there in one step, in the place of whatever is there."""
    new = beside or os.path.dirname(path) + b"/.bcs-" + randomness.token_hex(8).encode()
    make_at(new)
    try:
        os.rename(new, path)
    except OSError:
        os.unlink(new)
        raise


def put_link(target: bytes, path: bytes) -> None:
    """`path` is a further name of `target` afterwards. OSError where there can be none."""
    put(path, lambda new: refuse(link(target, new)))


def refuse(missing: Shortfall | None) -> None:
    """What falls short is an error here: it would take the place of what is whole."""
    if missing is not None:
        raise OSError(missing.errno, os.strerror(missing.errno))


def take_away(path: bytes, kind: str) -> bool:
    """Remove what is at a path, if it is of that kind; whether it was there. OSError when it can't be removed."""
    try:
        os.rmdir(path) if kind == DIRECTORY else os.unlink(path)
        return True
    except OSError as error:
        if error.errno in (*GONE, errno.EISDIR):
            return False
        raise


def is_as(path: bytes, wanted: tuple[str, int, int] | None) -> bool:
    """Whether a path holds what was described by type, size and mtime_ns; None: nothing.

    Of a directory only that it is one counts: what is in it changes its times.
    """
    try:
        there = read_attributes(path)
    except CannotRead as error:
        return wanted is None and error.errno in GONE
    if wanted is None or there.type != wanted[0]:
        return False
    return wanted[0] != FILE or (there.size, there.mtime_ns) == wanted[1:]
