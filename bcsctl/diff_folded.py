"""Of a directory that was renamed or removed as a whole one line: what went with it is counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from engine.model.events import DIRECTORY, Inode

if TYPE_CHECKING:
    from engine.query.diff import Change

_FOLDED = ("renamed", "removed")


def folded(changes: Sequence[Change]) -> list[tuple[Change, int]]:
    """The changes in their order, each with how many were left out below it: those that only followed from what became
    of a directory above them. What changed in another way too has its own line."""
    tops = {change.path: change for change in changes if _is_directory(change)}
    counts: dict[bytes, int] = {}
    shown: list[Change] = []
    for change in changes:
        top = next((tops[path] for path in _above(change.path) if path in tops and _follows(change, tops[path])), None)
        if top is None:
            shown.append(change)
        else:
            counts[top.path] = counts.get(top.path, 0) + 1
    return [(change, counts.get(change.path, 0)) for change in shown]


def _is_directory(change: Change) -> bool:
    return change.kind in _FOLDED and change.left is not None and change.left.type == DIRECTORY


def _above(path: bytes) -> Iterator[bytes]:
    """The directories above a path, the topmost first."""
    at = path.find(b"/", 1)
    while at > 0:
        yield path[:at]
        at = path.find(b"/", at + 1)


def _follows(change: Change, top: Change) -> bool:
    if change.kind != top.kind or change.content or change.attributes:
        return False
    if change.old_path is None or top.old_path is None:
        return change.old_path is top.old_path
    return _is_as_before(change) and change.old_path == top.old_path + change.path[len(top.path) :]


def _is_as_before(change: Change) -> bool:
    left, right = change.left, change.right
    return left is not None and right is not None and _attributes(left) == _attributes(right)


def _attributes(inode: Inode) -> tuple[object, ...]:
    """What `diff` tells of one; a directory's own size and time follow what is in it."""
    written = () if inode.type == DIRECTORY else (inode.size, inode.mtime_ns)
    return (inode.type, inode.mode, inode.uid, inode.gid, inode.rdev, inode.target, inode.xattrs, written)
