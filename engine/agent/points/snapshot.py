"""Holding a source still by looking at a snapshot of its btrfs subvolume. Nobody waits for it.

A snapshot is what a loss of power would have left at its moment: all that was fsynced, and of the rest some. It lies in
the top subvolume while it is looked at, and is deleted then; a note on disk tells the next start of one that was left.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Sequence
from pathlib import Path

from engine.agent.points import btrfs
from engine.agent.points.hold import NotHeld
from engine.agent.points.volumes import Volume, volume_at, volumes, volumes_below
from engine.env import durable

NOTE = "snapshot.json"
PREFIX = ".bcs-point-"


class Snapshot:
    """A hold on one subvolume that the whole source lies in. NotHeld from the start where it doesn't."""

    how = "snapshot"
    held_seconds = 0.0

    def __init__(self, paths: Sequence[bytes], directory: Path, stream: str) -> None:
        """`paths` of the source, without links. The note is kept in `directory`."""
        self._note, self._name = directory / NOTE, os.fsencode(PREFIX + stream)
        self._volume, self._subvolume = _subvolume_of(paths)
        self._top = -1
        self._made = False
        self.elsewhere: list[tuple[bytes, bytes]] = []
        """(path on disk, where to look instead) as soon as it is held."""
        self.devices: tuple[int, int] = (0, 0)
        """st_dev of the snapshot, and of what it is of."""

    def prepare(self) -> None:
        device = self._volume.device
        try:
            self._top = btrfs.mount_top(device)
            _delete_if_there(self._top, self._name)
        except OSError as error:
            hint = " (does the agent's service allow it to mount?)" if error.errno == errno.EPERM else ""
            raise NotHeld(f"the top subvolume of {os.fsdecode(device)} can't be had: {error}{hint}") from error

    def begin(self) -> None:
        note = {"device": os.fsdecode(self._volume.device), "name": os.fsdecode(self._name)}
        durable.replace(self._note, json.dumps(note).encode())
        try:
            fd = os.open(self._subvolume, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                btrfs.snapshot(self._top, self._name, fd)
                self._made = True
                live = os.fstat(fd).st_dev
            finally:
                os.close(fd)
            place = b"/proc/self/fd/%d/%b" % (self._top, self._name)
            self.devices = os.stat(place).st_dev, live
        except OSError as error:
            raise NotHeld(f"no snapshot of {os.fsdecode(self._subvolume)} could be made: {error}") from error
        self.elsewhere = [(self._subvolume, place)]

    def check(self) -> None:
        pass  # it lasts as long as it is wanted

    def end(self) -> None:
        if self._top >= 0:
            try:
                if self._made:
                    _delete_if_there(self._top, self._name)
            finally:
                os.close(self._top)
                self._top = -1
        self._note.unlink(missing_ok=True)


def delete_what_was_left(directory: Path) -> None:
    """Delete the snapshot of an agent that was killed, by its note."""
    note = directory / NOTE
    try:
        told = json.loads(note.read_bytes())
        top = btrfs.mount_top(os.fsencode(told["device"]))
    except (OSError, ValueError, KeyError):
        return
    try:
        _delete_if_there(top, os.fsencode(told["name"]))
    except OSError:
        return  # the next start tries again
    finally:
        os.close(top)
    note.unlink(missing_ok=True)


def _delete_if_there(top: int, name: bytes) -> None:
    try:
        btrfs.delete(top, name)
    except FileNotFoundError:
        pass


def _subvolume_of(paths: Sequence[bytes]) -> tuple[Volume, bytes]:
    """The file system, and the path of the root of the one subvolume that holds these paths, and no other."""
    known = volumes()
    if any(each.kind != b"btrfs" for each in volumes_below(paths, known)):
        raise NotHeld("not all of the source is on btrfs")
    try:
        devices = {os.stat(path).st_dev for path in paths}
        if len(devices) != 1 or any(volume.point.startswith(path + b"/") for path in paths for volume in known):
            raise NotHeld("the source lies in several subvolumes, and they can't be held at one moment")
        root = os.path.commonpath(paths)
        while os.stat(root).st_ino != btrfs.ROOT_INODE or os.stat(root).st_dev not in devices:
            if root == b"/":
                raise NotHeld("the root of the source's subvolume is mounted nowhere")
            root = os.path.dirname(root)
        fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if btrfs.has_subvolumes(fd):
                raise NotHeld(f"other subvolumes lie in {os.fsdecode(root)}, and a snapshot leaves them out")
        finally:
            os.close(fd)
    except OSError as error:
        raise NotHeld(f"the source's subvolume can't be looked at: {error}") from error
    volume = volume_at(root, known)
    if volume is None:
        raise NotHeld(f"{os.fsdecode(root)} is on no file system that is mounted here")
    if volume.read_only:  # a mount that may write would change that for all its mounts
        raise NotHeld(f"{os.fsdecode(volume.device)} is mounted to be read only")
    return volume, root
