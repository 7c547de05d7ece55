"""Paths, entries and points as the commands show them: as JSON and for the eye."""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bcsctl.output import local_time, printable
from engine.model import xattrs
from engine.model.errors import Damaged, VerificationFailed
from engine.model.lineage import Beside
from engine.model.points import Point
from engine.model.points import point_json as point_json
from engine.tree.paths import path_json as path_json

if TYPE_CHECKING:
    from engine.model.events import Inode

_TYPE_BITS = {"f": stat.S_IFREG, "d": stat.S_IFDIR, "l": stat.S_IFLNK, "p": stat.S_IFIFO}
_TYPE_BITS |= {"s": stat.S_IFSOCK, "c": stat.S_IFCHR, "b": stat.S_IFBLK}


def inode_json(inode: Inode) -> dict[str, Any]:
    """The attributes of an entry: mode the permission bits as a number, mtime in nanoseconds, xattrs in base64."""
    return {
        "type": inode.type,
        "size": inode.size,
        "mtime_ns": inode.mtime_ns,
        "mode": inode.mode,
        "uid": inode.uid,
        "gid": inode.gid,
        **(path_json(inode.target, "target") if inode.type == "l" else {"target": None}),
        "rdev": inode.rdev,
        "xattrs": {
            os.fsdecode(name): base64.b64encode(value).decode("ascii")
            for name, value in xattrs.decode(inode.xattrs).items()
        },
    }


def when(point: Point) -> str:
    """`2026-11-22 10:00:00.123456 +0000 (point:1.99 quiet)`; and of what lies beside the history, that it does."""
    aside = f"; {left_at(point.beside)}" if point.beside else ""
    return f"{local_time(point.at, 6)} (point:{point.position} {point.point_class}{aside})"


def left_at(beside: Beside) -> str:
    """Where the present history left what lies beside it, and for what."""
    return f"beside this history, which left it at {beside.left} ({printable(beside.cause)})"


def as_of(point: Point) -> str:
    """Which point answers, for the eye."""
    return f"as of {when(point)}"


def mode_text(inode: Inode) -> str:
    """`-rw-r--r--`, as ls(1) writes it."""
    return stat.filemode(_TYPE_BITS[inode.type] | inode.mode)


@contextmanager
def damage_is_a_difference() -> Iterator[None]:
    """Within it damage of the journal ends the command with exit code 6: what was asked for is not what was kept."""
    try:
        yield
    except Damaged as error:
        raise VerificationFailed(error.message, hint=error.hint, details=error.details) from None
