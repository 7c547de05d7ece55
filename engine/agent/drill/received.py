"""One source of a drill on this host: received into a new directory, read back from the disk when that is asked for."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.agent.restore import landing
from engine.agent.restore.client import Stopped
from engine.agent.restore.landing import Landing
from engine.agent.restore.receive import Done, Receiver, read_nodes
from engine.agent.restore.restoring import Run
from engine.agent.restore.state import State
from engine.model.counts import as_were, counted
from engine.model.errors import BcsError
from engine.model.events import ROOT_ID
from engine.model.times import format_size
from engine.tree.clearing import refuse_without_room
from engine.tree.paths import shown
from engine.tree.settle import sync

_OF_ATTRIBUTES = ("mode", "uid", "gid", "mtime_ns", "rdev", "xattrs", "further name")

Row = dict[str, Any]
"""{name, passed, message, seconds, source, command, output, differs} of one check, as the node's evidence has it."""


class Received(Run):
    """A source as it comes back. `receive` first; then `rows_of_bytes` as often as it is asked for; `close` at last."""

    received = False
    _held: Landing | None = None
    _spent = 0.0
    _directories: dict[int, bytes]

    def stored_bytes(self) -> int:
        """What it will take on the disk, by the plan."""
        self._know()
        return int(self._plan.get("stored_bytes", self._plan["bytes"]))

    def receive(self) -> None:
        """Write all of it. Refused, Stopped, OSError, and what the node refuses with."""
        job = self._job
        looked = landing.check(job.target, job.own, job.protected, guarded=job.guarded)
        held = self._held = landing.take(job.target, None, looked)
        self._state = State(held.before)
        self._begin_plan()
        receiver = Receiver(held, self._state.done, self._owning.kept, self._threads)
        try:
            self._write(receiver)
        finally:
            receiver.close()
        self._report("syncing", at_once=True)
        sync(held.held)
        self._directories = receiver.directories
        self.received = True

    @property
    def done(self) -> Done:
        return self._state.done

    @property
    def seconds(self) -> float:
        return self._seconds()

    def row(self, source: int) -> Row:
        """Whether it came back."""
        done = self.done
        if not done.failures:
            text = f"{counted(done.files, 'file')} came back"
            return row("restore", True, text, self.seconds, source)
        path, why = done.failures[0]
        more = f", and {len(done.failures) - 1:,} more" if len(done.failures) > 1 else ""
        return row("restore", False, f"{shown(path)}: {why}{more}", self.seconds, source, differs=done.damaged)

    def adopt(self, shortfalls: Sequence[str]) -> None:
        """Take the tree that stands there, filled on demand by now, for what was received: to be read back."""
        self._know()
        real = os.path.realpath(self._job.target)
        fd = landing.hold(real)
        status = os.fstat(fd)
        mode, name = stat.S_IMODE(status.st_mode), os.fsdecode(real)
        before = landing.Before(True, status.st_uid, status.st_gid, mode, name, status.st_ino)
        held = self._held = Landing(self._job.target, fd, before)
        self._state = State(before)
        done = self.done
        done.files, done.names, done.shortfalls = self._plan["files"], self._plan["names"], list(shortfalls)
        done.attributes_set = True  # it was made for the tree, which has given it its own
        self._directories = {ROOT_ID: held.held}
        made = [number for number, step in enumerate(self._steps) if step == "made"]
        for _, batch in self._batches(made, data=False):
            for node in read_nodes("made", batch, self._directories).values():
                self._directories[node.file_id] = node.names[0]

    def read_back(self, source: int) -> list[Row]:
        """`rows_of_bytes`, or the row that says why it can't be read."""
        try:
            return self.rows_of_bytes(source)
        except Stopped:
            raise
        except (BcsError, OSError) as error:
            return [row("checksums", False, str(error), 0.0, source, differs=True)]

    def rows_of_bytes(self, source: int) -> list[Row]:
        """Every byte and every attribute, read from the disk: a row for the bytes, one for the rest."""
        assert self._held is not None
        began = self._clock.monotonic()
        differences = self._read_back(self._held, self._directories)
        seconds = self._clock.monotonic() - began
        of_attributes = [each for each in differences if each[1].startswith(_OF_ATTRIBUTES)]
        of_content = [each for each in differences if not each[1].startswith(_OF_ATTRIBUTES)]
        done = self.done
        read = f"{counted(done.files, 'file')}, {format_size(done.bytes_written or self._plan['bytes'])} read back"
        unset = (
            f", but {counted(len(done.shortfalls), 'attribute')} that could not be set here" if done.shortfalls else ""
        )
        return [
            _compared("checksums", of_content, read, seconds, source),
            _compared("attributes", of_attributes, f"{as_were(done.names)}{unset}", 0.0, source),
        ]

    def close(self) -> None:
        if self._held is not None:
            landing.give_back(self._held, self._state.done.attributes_set)
            self._held = None


def room(place: Path, sources: Sequence[Received]) -> None:
    """Refused when what comes back would leave too little room there."""
    refuse_without_room(place, sum(each.stored_bytes() for each in sources))


def row(
    name: str,
    passed: bool | None,
    message: str,
    seconds: float = 0.0,
    source: int | None = None,
    *,
    command: str = "",
    output: str = "",
    differs: bool = False,
) -> Row:
    """One check."""
    told: Row = {"name": name, "passed": passed, "message": message, "seconds": round(seconds, 3), "source": source}
    return told | {"command": command, "output": output, "differs": differs}


def _compared(name: str, differences: list[tuple[bytes, str]], well: str, seconds: float, source: int) -> Row:
    if not differences:
        return row(name, True, well, seconds, source)
    path, what = differences[0]
    more = f", and {len(differences) - 1:,} more" if len(differences) > 1 else ""
    return row(name, False, f"{shown(path)} differs: {what}{more}", seconds, source, differs=True)
