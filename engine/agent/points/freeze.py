"""Holding a source still by freezing the file systems it lies on, for seconds at most (FIFREEZE, linux/fs.h).

Freezing is done, and undone, by a process of its own (`engine.agent.points.thaw`), so that an agent that dies or hangs
leaves nothing frozen. A note on disk says what is frozen, for the case that both are killed: the next start thaws it.

Refused where the agent itself would wait for the freeze to end: its home, its spool, its log, or an embedded node's
journal on the same file system, and temporary files.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from engine.agent.points.hold import NotHeld
from engine.agent.points.thaw import thaw
from engine.agent.points.volumes import Volume, volume_at, volume_of, volumes, volumes_below
from engine.env import durable
from engine.env.clock import SYSTEM, Clock

FREEZE_SECONDS = 5.0
"""How long writers wait at most."""
SYNC_PART = 4
"""Writing back what gathers in a moment may take this part of the time: else the disk is too busy to freeze it."""
START_SECONDS = 10.0
MARGIN_SECONDS = 2.0
NOTE = "frozen.json"

_libc = ctypes.CDLL(None, use_errno=True)


class Freeze:
    """A hold on all file systems of a source, or on none."""

    how = "freeze"

    def __init__(
        self, paths: Sequence[bytes], own: Sequence[bytes], directory: Path, limit_seconds: float = FREEZE_SECONDS
    ) -> None:
        """`paths` of the source, without links; `own` is what the agent writes to. NotHeld where freezing is out of
        the question. The note is kept in `directory`."""
        self._limit_seconds, self._note = limit_seconds, directory / NOTE
        self._points = _to_freeze(paths, own)
        self._fds: list[int] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._frozen = False
        self._clock: Clock = SYSTEM
        self._began = 0.0
        self.held_seconds = 0.0

    def prepare(self) -> None:
        try:
            self._fds = [os.open(point, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) for point in self._points]
        except OSError as error:
            raise NotHeld(f"a file system can't be opened: {error}") from error
        command = [sys.executable, "-m", "engine.agent.points.thaw", "thaw", str(self._limit_seconds)]
        self._process = subprocess.Popen(
            [*command, *map(str, self._fds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            pass_fds=self._fds,
            start_new_session=True,
        )
        if self._answer(START_SECONDS) != ["ready"]:
            raise NotHeld("the process that thaws did not start")
        for _ in range(2):  # the second time what gathered during the first
            began = self._clock.monotonic()
            for fd in self._fds:
                _libc.syncfs(fd)
        seconds = self._clock.monotonic() - began
        if seconds > self._limit_seconds / SYNC_PART:
            raise NotHeld(f"the disk is too busy to be frozen: writing back took {seconds:.1f} s")

    def begin(self) -> None:
        durable.replace(self._note, json.dumps([os.fsdecode(point) for point in self._points]).encode())
        self._began = self._clock.monotonic()
        self._frozen = True
        self._tell(b"f")
        answer = self._answer(self._limit_seconds + MARGIN_SECONDS)
        if answer[:1] == ["refused"]:
            self._frozen = False
            point = os.fsdecode(self._points[int(answer[2])])
            raise NotHeld(f"{point} can't be frozen: {os.strerror(int(answer[1]))}")
        if answer != ["frozen"]:
            raise NotHeld(f"the file systems could not be frozen within {self._limit_seconds:g} s")
        self.check()

    def check(self) -> None:
        if self._clock.monotonic() - self._began > self._limit_seconds or self._answers(0):
            raise NotHeld(f"what had to be looked at took longer than {self._limit_seconds:g} s of frozen time")

    def end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        why = ""
        try:
            if self._frozen:
                why = self._thawed(process)
        finally:
            self._frozen = False
            assert process.stdin is not None and process.stdout is not None
            process.stdin.close()
            process.stdout.close()
            process.wait()
            for fd in self._fds:
                os.close(fd)
            self._note.unlink(missing_ok=True)
        if why:
            raise NotHeld(why)

    def _thawed(self, process: subprocess.Popen[bytes]) -> str:
        """Have it thawed; why the hold was not whole, if it wasn't."""
        self._process = process
        self._tell(b"t")
        answer = self._answer(self._limit_seconds + MARGIN_SECONDS)
        self._process = None
        if answer[:1] != ["thawed"]:
            process.kill()
            thaw(self._fds)
            self.held_seconds = self._clock.monotonic() - self._began
            return "the process that thaws had died"
        self.held_seconds = float(answer[2])
        if answer[1] == "asked":
            return ""
        if answer[1] == "other":
            return "somebody else thawed the file system"
        return f"the file systems were frozen for {self._limit_seconds:g} s, the most that is allowed, and thawed"

    def _tell(self, what: bytes) -> None:
        assert self._process is not None and self._process.stdin is not None
        try:
            self._process.stdin.write(what)
        except OSError:
            pass  # that it is gone shows in its answer

    def _answers(self, seconds: float) -> bool:
        assert self._process is not None and self._process.stdout is not None
        return bool(select.select([self._process.stdout], [], [], max(0.0, seconds))[0])

    def _answer(self, seconds: float) -> list[str]:
        """The next line's words, none when it does not come."""
        assert self._process is not None and self._process.stdout is not None
        line, until = b"", self._clock.monotonic() + seconds
        while not line.endswith(b"\n"):
            if not self._answers(until - self._clock.monotonic()):
                return []
            part = self._process.stdout.read(1)
            if not part:
                return []
            line += part
        return line.decode("ascii").split()


def thaw_what_was_left(directory: Path) -> bool:
    """Thaw what an agent that was killed left frozen, by its note; whether there was one."""
    note = directory / NOTE
    try:
        points = json.loads(note.read_bytes())
    except (FileNotFoundError, ValueError):
        return False
    for point in points:
        try:
            fd = os.open(point, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            continue
        thaw([fd])
        os.close(fd)
    note.unlink(missing_ok=True)
    return True


def _to_freeze(paths: Sequence[bytes], own: Sequence[bytes]) -> list[bytes]:
    """Where the file systems are mounted, one point each."""
    known = volumes()
    there: dict[bytes, Volume] = {volume.number: volume for volume in volumes_below(paths, known)}
    if not there:
        raise NotHeld("nothing of it is mounted")
    for path in own:
        volume = volume_at(path, known)
        if volume is not None and volume.number in there:
            raise NotHeld(f"{os.fsdecode(path)}, which the agent itself writes to, is on the same file system")
    for fd in (1, 2):
        volume = volume_of(fd, known) if os.path.exists(f"/proc/self/fd/{fd}") else None
        if volume is not None and volume.number in there and volume.kind != b"devtmpfs":
            raise NotHeld("the agent's log is on the same file system")
    return [volume.point for volume in there.values()]


def own_paths(directory: Path, own: Sequence[bytes]) -> list[bytes]:
    """What an agent writes to: its record and spool in `directory`, its other directories, temporary files."""
    return [os.fsencode(directory), *own, os.fsencode(tempfile.gettempdir())]
