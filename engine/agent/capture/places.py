"""Where directories are: their paths by file_id, from the record's parent links.

A path read off the record may lead somewhere else by now. So a directory is opened and its inode compared before
anything in it is believed.
"""

from __future__ import annotations

import os

from engine.agent.kept.record import Known, Record, number_of
from engine.drivers.files import Scope
from engine.model.events import ROOT_ID

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_KEPT_MAX = 50_000


class Moved(Exception):
    """Another directory, or none, is where the record has this one."""


class Places:
    """Paths of directories, remembered until something is renamed."""

    def __init__(self, record: Record, scope: Scope) -> None:
        self._record, self._scope = record, scope
        self._paths: dict[int, bytes] = {ROOT_ID: b"/"}

    def clear(self) -> None:
        """A directory was renamed: forget all paths."""
        self._paths = {ROOT_ID: b"/"}

    def note(self, directory: int, path: bytes) -> None:
        """A directory was just seen at a path."""
        if len(self._paths) > _KEPT_MAX:
            self.clear()
        self._paths[directory] = path

    def path(self, directory: int) -> bytes | None:
        """The directory's path in the tree, None when nothing leads to it."""
        found = self._paths.get(directory)
        if found is not None:
            return found
        names: list[bytes] = []
        seen: set[int] = set()
        at = directory
        while at not in self._paths:
            above = self._record.places_of(at)
            if not above or at in seen:
                return None
            seen.add(at)
            at, name = above[0]
            names.append(name)
        base = self._paths[at]
        path = (b"" if base == b"/" else base) + b"".join(b"/" + name for name in reversed(names))
        self.note(directory, path)
        return path

    def real(self, directory: int) -> bytes | None:
        """Where the directory is on disk."""
        path = self.path(directory)
        return None if path is None else self._scope.real(path)

    def open(self, directory: int) -> int:
        """A descriptor of the directory. Moved when it is not where the record has it; OSError when it can't be opened.

        The caller closes it.
        """
        return self.opened(directory)[0]

    def opened(self, directory: int) -> tuple[int, os.stat_result, Known]:
        """The same, with its fstat and what the record knows of it."""
        path = self.real(directory)
        known = self._record.inode(directory)
        if path is None or known is None:
            raise Moved
        try:
            fd = os.open(path, _OPEN)
        except (FileNotFoundError, NotADirectoryError):
            raise Moved from None
        except OSError as error:
            if error.errno == 40:  # ELOOP: a symbolic link
                raise Moved from None
            raise
        status = os.fstat(fd)
        if number_of(status) != (known.dev, known.ino):
            os.close(fd)
            raise Moved
        return fd, status, known


def join(directory: bytes, name: bytes) -> bytes:
    """The path of a name in a directory."""
    return b"/" + name if directory == b"/" else directory + b"/" + name
