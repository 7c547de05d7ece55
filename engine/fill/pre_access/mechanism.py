"""The mechanism on FAN_PRE_ACCESS: the kernel stops whoever touches a marked file until its range is there.

Each cold file has a mark of its own (it holds through renames and further names), which goes once the file is whole;
then nothing of ours is in anybody's way. Needs Linux 6.14, root, and a file system that takes such marks.
docs/decisions/0021-pre-access.md tells what is dangerous about it and what stands against that.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from engine.fill.base import PRE_ACCESS, Fills, Place, Recipe
from engine.fill.pre_access import fanotify as fan
from engine.fill.pre_access.private import Private
from engine.fill.pre_access.serving import Serving
from engine.fill.pre_access.taken import Slots
from engine.fill.tree import cover as covers
from engine.fill.tree.conditions import stop_zeroing
from engine.fill.tree.exposing import move_down, move_up
from engine.fill.tree.handles import handle_of

COSTS = "about 30 µs for each read or write of a file that is not whole yet; nothing afterwards"

_FLAGS = (
    fan.FAN_CLASS_PRE_CONTENT
    | fan.FAN_CLOEXEC
    | fan.FAN_UNLIMITED_QUEUE
    | fan.FAN_UNLIMITED_MARKS
    | fan.FAN_REPORT_TID
    | fan.FAN_REPORT_FD_ERROR
)
_GONE = (errno.ENOENT, errno.ESTALE)


def why_not(directory: bytes) -> str:
    """See engine.fill.base.MechanismModule: it is tried on a nameless file in the directory."""
    try:
        group = _group()
    except OSError as error:
        if error.errno == errno.EPERM:
            return "it takes root (CAP_SYS_ADMIN)"
        return f"this kernel has no FAN_PRE_ACCESS, which came with Linux 6.14 (this is {os.uname().release})"
    try:
        probe = os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            handle_of(probe)
            fan.fanotify_mark(group, fan.FAN_MARK_ADD, fan.FAN_PRE_ACCESS, b"/proc/self/fd/%d" % probe)
        finally:
            os.close(probe)
    except OSError as error:
        return f"the file system of {os.fsdecode(directory)} takes no such marks ({os.strerror(error.errno or 0)})"
    finally:
        os.close(group)
    return ""


def hold(place: Place, recipe: Recipe) -> int:
    """A new group, without marks. What a group of an earlier boot had left unanswered is void."""
    (place.mechanism / _TAKEN).unlink(missing_ok=True)
    return _group()


def orphaned(place: Place, recipe: Recipe, fd: int) -> None:
    """Nothing: the next filler answers what this one had taken, from the file in which it stands."""


def let_go(place: Place, recipe: Recipe, fd: int) -> None:
    """Close the group; its last marks go with it."""
    os.close(fd)


def cover(place: Place, recipe: Recipe) -> None:
    """See engine.fill.tree.cover."""
    covers.cover(os.fsencode(recipe.dir), recipe.id)


def uncover(place: Place, recipe: Recipe) -> None:
    """See engine.fill.tree.cover."""
    covers.uncover(os.fsencode(recipe.dir), recipe.id)


def attach(place: Place, recipe: Recipe, fd: int, fills: Fills) -> PreAccess:
    """See engine.fill.base.MechanismModule."""
    return PreAccess(place, recipe, fd, fills)


class PreAccess:
    """See engine.fill.base.Mechanism."""

    name = PRE_ACCESS
    sees_truncation = False

    def __init__(self, place: Place, recipe: Recipe, fd: int, fills: Fills) -> None:
        self._recipe, self._fd, self._fills = recipe, fd, fills
        self._serving = Serving(fd, Slots(place.mechanism / _TAKEN), fills)
        below = covers.beneath(os.fsencode(recipe.dir), recipe.id)
        stop_zeroing(b"/proc/self/fd/%d" % below)  # after a boot a cover lay there: nobody could before us
        self._private = Private(below)

    def guard(self) -> None:
        """Mark all files that are not whole."""
        for file in self._fills.files():
            if not self._fills.is_whole(file.number):
                self._mark(file.number, fan.FAN_MARK_ADD)

    def expose(self) -> None:
        """See engine.fill.tree.exposing.move_up; what lies under a cover waits until that is gone."""
        if not covers.is_covered(os.fsencode(self._recipe.dir), self._recipe.id):
            move_up(self._recipe)

    def serve(self) -> None:
        """Start the threads that answer."""
        self._serving.start()

    def open(self, number: int) -> int:
        """See engine.fill.base.Mechanism; what is written by it raises no event for capture either."""
        return self._private.open(self._fills.file(number).handle)

    def whole(self, number: int) -> None:
        """Drop its mark."""
        self._mark(number, fan.FAN_MARK_REMOVE)

    def finish(self) -> list[str]:
        """No mark is left: nothing holds the tree."""
        fan.fanotify_mark(self._fd, fan.FAN_MARK_FLUSH, 0, None)
        return []

    def withdraw(self) -> int:
        """See engine.fill.tree.exposing.move_down."""
        return move_down(self._recipe)

    def close(self) -> None:
        """Take no more events."""
        self._serving.stop()
        self._private.close()

    def _mark(self, number: int, flags: int) -> None:
        """Add or remove the mark of a file; one that is gone, or was not marked, is as it should be."""
        try:
            fd, path = self._private.path(self._fills.file(number).handle)
        except OSError as error:
            if error.errno in _GONE:
                return
            raise
        try:
            with suppress(FileNotFoundError):
                fan.fanotify_mark(self._fd, flags, fan.FAN_PRE_ACCESS, path)
        finally:
            os.close(fd)


_TAKEN = "taken"


def _group() -> int:
    return fan.fanotify_init(_FLAGS, os.O_RDONLY | os.O_CLOEXEC | fan.O_LARGEFILE)
