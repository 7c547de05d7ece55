"""The smallest sizes seen of files that were cut while they were cold. A line is durable before the file goes on: what
was cut off must not come back, whatever happens to who fills."""

from __future__ import annotations

import os
import struct
from pathlib import Path

_ROW = struct.Struct("<QQ")


class Sizes:
    """Appends (number, size); knows the smallest of each. Not safe for several threads: the file's lock is held."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.smallest: dict[int, int] = {}
        data = os.pread(self._fd, os.fstat(self._fd).st_size, 0)
        whole = len(data) - len(data) % _ROW.size
        if whole != len(data):
            os.ftruncate(self._fd, whole)  # a line that a power cut left half written was not answered either
        for number, size in _ROW.iter_unpack(data[:whole]):
            self.smallest[number] = min(size, self.smallest.get(number, size))

    def note(self, number: int, size: int) -> None:
        """Durably. A size that is no smaller than the one known changes nothing."""
        if size >= self.smallest.get(number, size + 1):
            return
        os.write(self._fd, _ROW.pack(number, size))
        os.fdatasync(self._fd)
        self.smallest[number] = size

    def close(self) -> None:
        os.close(self._fd)
