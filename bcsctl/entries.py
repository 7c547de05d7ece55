"""Paths, entries and points as the commands show them: as JSON and for the eye."""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bcsctl.output import local_time
from engine.model import xattrs
from engine.model.errors import Damaged, VerificationFailed
from engine.model.points import Point, unseen_json
from engine.model.times import format_time
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


def point_json(point: Point) -> Mapping[str, str]:
    """Which point answers: its name, its time, its class; and since when nobody has watched, while nobody does."""
    named = {"point": str(point.position), "at": format_time(point.at), "class": point.point_class}
    return named | unseen_json(point)


def when(point: Point) -> str:
    """`2026-11-22 10:00:00.123456 +0000 (point:1.99 quiet)`."""
    return f"{local_time(point.at, 6)} (point:{point.position} {point.point_class})"


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
