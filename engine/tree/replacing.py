"""Putting what is restored in the place of what stands there: written beside it, on disk, then exchanged in one step.

At every moment, a power cut included, a name leads to the whole of what it was or to the whole of what it becomes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from engine.plan.standing import Conflict, Seen
from engine.tree.settle import sync_all

GROUP_NAMES, GROUP_BYTES = 2_000, 256 << 20
"""So much is written beside what it replaces before it is put on the disk and takes its places."""

_PREFIX = b".bcs-restore-"
_NAME_BYTES = 255


class Replacing:
    """Names that are taken. `id` is the restore's: a restore that goes on after a kill finds its own names again.

    With `aside` what is replaced stays beside its name, as `aside_name` says.
    """

    def __init__(self, taken: Mapping[bytes, Seen], id: str, aside: bool) -> None:
        self.kept_aside: list[bytes] = []
        self._taken = taken
        self._id = id.encode()
        self._aside = aside
        self._waiting: list[tuple[bytes, bytes]] = []
        self._waiting_bytes = 0

    def place(self, name: bytes) -> bytes:
        """Where what is to be at `name` is made: there itself, unless that is taken."""
        if name not in self._taken:
            return name
        directory, last = os.path.split(name)
        digest = hashlib.blake2b(last, digest_size=8).hexdigest().encode()
        return os.path.join(directory, _PREFIX + self._id + b"-" + digest)

    def arrived(self, name: bytes, size: int) -> None:
        """What was made for a name is whole."""
        if name in self._taken:
            self._waiting.append((self.place(name), name))
            self._waiting_bytes += size
            if len(self._waiting) >= GROUP_NAMES or self._waiting_bytes >= GROUP_BYTES:
                self.settle()

    def settle(self) -> None:
        """Let all that has arrived take its places. Raises OSError, Failed when the disk does not take it."""
        if not self._waiting:
            return
        sync_all({os.path.dirname(beside) for beside, _ in self._waiting})
        for beside, name in self._waiting:
            if self._aside:
                self._keep(name)
            os.rename(beside, name)
        self._waiting.clear()
        self._waiting_bytes = 0

    def _keep(self, name: bytes) -> None:
        kept = aside_name(name, self._id.decode())
        with suppress(FileExistsError, FileNotFoundError):  # kept by a run before this one
            os.link(name, kept, follow_symlinks=False)
        self.kept_aside.append(kept)

    def sweep(self, directories: Iterable[bytes]) -> None:
        """Take away what a run that was killed has left beside the names of these directories, but for what will be
        made again at the same place."""
        mine = _PREFIX + self._id
        again = {self.place(name) for name in self._taken}
        for directory in directories:
            with os.scandir(directory) as entries:
                left = [entry.path for entry in entries if entry.name.startswith(mine) and entry.path not in again]
            for path in left:
                os.unlink(path)


def aside_name(name: bytes, id: str) -> bytes:
    """What something that stood in the way is called afterwards; cut where a file system would not take it."""
    directory, last = os.path.split(name)
    ending = b".before-" + id.encode()
    return os.path.join(directory, last[: _NAME_BYTES - len(ending)] + ending)


def move_aside(conflicts: Iterable[Conflict], id: str, told: Callable[[bytes], None]) -> None:
    """Rename what is of another type than what belongs there."""
    for conflict in conflicts:
        kept = aside_name(conflict.path, id)
        os.rename(conflict.path, kept)
        told(kept)
