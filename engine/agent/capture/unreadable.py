"""What of the source could not be read: told in the stream once, and in every report until it can be."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator

from engine.agent.capture.outbox import Outbox
from engine.agent.capture.places import Places, join
from engine.agent.kept.record import Record
from engine.tree.paths import shown

Where = tuple[int, bytes]


class Unreadable:
    """Names, and directories as (directory, b""), with the number of their errors."""

    def __init__(self, record: Record, places: Places, outbox: Outbox) -> None:
        self._record, self._places, self._outbox = record, places, outbox
        self._numbers: dict[Where, int] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[Where]:
        return iter(self._numbers)

    def missed(self, where: Where, path: bytes, error: OSError) -> None:
        """It could not be read just now."""
        number = error.errno or errno.EIO
        if self._numbers.get(where) != number:
            self._numbers[where] = number
            told = {"path": shown(path), "errno": number, "reason": os.strerror(number)}
            self._outbox.builder.record(0, "unreadable", json.dumps(told))

    def read(self, where: Where) -> None:
        """It was read, or has gone."""
        self._numbers.pop(where, None)

    def forget_the_gone(self) -> None:
        """Drop what was said of names in directories that are no more."""
        for where in [where for where in self._numbers if self._record.inode(where[0]) is None]:
            del self._numbers[where]

    def paths(self, count: int) -> list[dict[str, str]]:
        """The first `count` as {path, reason}; paths are written to be looked at."""
        told: list[dict[str, str]] = []
        for (directory, name), number in self._numbers.items():
            if len(told) == count:
                break
            path = self._places.path(directory)
            if path is not None:
                told.append({"path": shown(join(path, name) if name else path), "reason": os.strerror(number)})
        return sorted(told, key=lambda each: each["path"])
