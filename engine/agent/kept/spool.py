"""The spool: batches on disk that the node has not acknowledged, in segment files that only grow.

A batch is durable here before the record's transaction that names it. Bytes that no transaction names are a torn tail:
they are cut off at start. Segments whose batches are all acknowledged are removed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from engine.agent.kept.record import NOWHERE, Place
from engine.env import durable
from engine.env.crash import crash
from engine.model.errors import Failed

SEGMENT_BYTES = 64 << 20


class SpoolDamaged(Failed):
    """A batch that the record names is not in the spool as it was put there. What it held must be looked at again."""

    code = "spool-damaged"


class Spool:
    """The segments below one directory. OSError (ENOSPC among them) from every call that writes."""

    def __init__(self, directory: Path, last: Place = NOWHERE, first: Place = NOWHERE) -> None:
        """`first` and `last` are the places of the batches that the record names; all else goes."""
        self._directory = directory
        durable.make_directories(directory)
        self._fd = -1
        self._sizes: dict[int, int] = {}
        for path in sorted(directory.iterdir()):
            number = int(path.name, 16)
            if last.segment < 0 or not first.segment <= number <= last.segment:
                path.unlink()
                continue
            self._sizes[number] = path.stat().st_size
        self._number = max(last.segment, 0)
        if last.segment >= 0:
            end = last.offset + last.length
            if self._sizes.get(last.segment, -1) < end:
                raise SpoolDamaged(f"the spool at {directory} ends before the last batch that the record names")
            os.truncate(self._path(last.segment), end)
            self._sizes[last.segment] = end
            self._fd = os.open(self._path(last.segment), os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    @property
    def size_bytes(self) -> int:
        """Bytes that the spool takes on disk."""
        return sum(list(self._sizes.values()))  # others ask too: a list is made at once

    def append(self, buffers: Sequence[bytes]) -> Place:
        """Add a batch, durably."""
        if self._fd < 0 or self._sizes[self._number] >= SEGMENT_BYTES:
            self._next_segment()
        offset = self._sizes[self._number]
        length = sum(map(len, buffers))
        try:
            written = 0
            for buffer in buffers:
                view = memoryview(buffer)
                while view:
                    count = os.write(self._fd, view)
                    view = view[count:]
                    written += count
            crash("spool-written")
            os.fdatasync(self._fd)
        except OSError:
            os.ftruncate(self._fd, offset)
            raise
        self._sizes[self._number] = offset + length
        crash("spool-appended")
        return Place(self._number, offset, length)

    def read(self, place: Place) -> bytes:
        """A batch as it was appended. SpoolDamaged when there is less."""
        try:
            fd = os.open(self._path(place.segment), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise SpoolDamaged(f"{self._path(place.segment)} has gone") from None
        try:
            data = os.pread(fd, place.length, place.offset)
        finally:
            os.close(fd)
        if len(data) != place.length:
            raise SpoolDamaged(f"{self._path(place.segment)} is shorter than the record says")
        return data

    def release(self, needed: Place) -> None:
        """Remove the segments before the first batch still needed; NOWHERE: none is."""
        for number in sorted(self._sizes):
            if needed.segment >= 0 and number >= needed.segment:
                break
            if number == self._number:
                if not self._sizes[number]:
                    break
                os.close(self._fd)
                self._fd = -1
                self._number += 1
            crash("segment-released")
            self._path(number).unlink(missing_ok=True)
            crash("segment-removed")
            del self._sizes[number]

    def drop(self) -> None:
        """Remove everything."""
        self.release(NOWHERE)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _path(self, number: int) -> Path:
        return self._directory / f"{number:08x}"

    def _next_segment(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._number += 1
        flags = os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(self._path(self._number), flags, 0o600)
        crash("segment-made")
        durable.sync_directory(self._directory)
        self._sizes[self._number] = 0
