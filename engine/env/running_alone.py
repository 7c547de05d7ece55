"""Run a drill's command: in namespaces of its own (`engine.env.alone`), for a bounded time, with the end of
what it writes kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import engine
from engine.env.alone import ALONE
from engine.env.clock import SYSTEM

OUTPUT_BYTES_KEPT = 4096
_ENDING_SECONDS = 5.0
_LOOK_SECONDS = 0.2
_PIECE_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command went. `why` is empty if it exited with 0; `output` is the end of what it wrote, on both streams."""

    why: str
    output: str

    @property
    def passed(self) -> bool:
        return not self.why


def words(command: str | Sequence[str]) -> list[str]:
    """What is executed: a shell for a text alone."""
    return ["/bin/sh", "-c", command] if isinstance(command, str) else list(command)


def run(
    command: str | Sequence[str],
    cwd: Path,
    environment: Mapping[str, str],
    timeout_seconds: float,
    called_off: threading.Event | None = None,
) -> Ran:
    """Run a command where `cwd` is, with that environment and no other, until it ends, its time is over, or it is
    called off: then all that it started ends with it."""
    told, telling = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "engine.env.alone", str(telling)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            env={"PYTHONPATH": str(Path(engine.__file__).parents[1]), "PATH": os.defpath},
            pass_fds=[telling],
            start_new_session=True,
        )
    finally:
        os.close(telling)
    try:
        return _watched(process, told, command, cwd, environment, timeout_seconds, called_off or threading.Event())
    finally:
        if process.poll() is None:
            process.kill()  # the first process of its namespace goes with it, and with that one all others
            process.wait()
        os.close(told)


def _watched(
    process: subprocess.Popen[bytes],
    told: int,
    command: str | Sequence[str],
    cwd: Path,
    environment: Mapping[str, str],
    timeout_seconds: float,
    called_off: threading.Event,
) -> Ran:
    assert process.stdin and process.stdout
    ends = _End(process.stdout)
    task = {"argv": words(command), "cwd": str(cwd), "environment": dict(environment)}
    with suppress(BrokenPipeError), process.stdin as pipe:
        pipe.write(json.dumps(task).encode())
    code = _ended(process, timeout_seconds, called_off)
    why = f"it exited with {code}" if code else ""
    if code is None:
        process.kill()
        process.wait()
        why = "it was called off" if called_off.is_set() else f"it took longer than {timeout_seconds:g} s"
    said = os.read(told, _PIECE_BYTES).decode("utf-8", "replace")
    if said != ALONE:
        why = said or "its process could not be started"
    return Ran(why, ends.text())


def _ended(process: subprocess.Popen[bytes], timeout_seconds: float, called_off: threading.Event) -> int | None:
    """Its exit code; None when it has none in time, or is called off."""
    ends_at = SYSTEM.monotonic() + timeout_seconds
    while not called_off.is_set():
        left = ends_at - SYSTEM.monotonic()
        try:
            return process.wait(max(0.0, min(left, _LOOK_SECONDS)))
        except subprocess.TimeoutExpired:
            if left <= 0:
                return None
    return None


class _End:
    """The end of what comes out of a pipe, read on a thread so that the writer never waits."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe, self._kept = pipe, b""
        self._thread = threading.Thread(target=self._read, name="drill-output", daemon=True)
        self._thread.start()

    def text(self) -> str:
        """What was written by now, once the writers have gone; they are not waited for long."""
        self._thread.join(_ENDING_SECONDS)
        return self._kept.decode("utf-8", "replace").replace("\0", "\ufffd")

    def _read(self) -> None:
        with suppress(OSError, ValueError):
            while piece := os.read(self._pipe.fileno(), _PIECE_BYTES):
                self._kept = (self._kept + piece)[-OUTPUT_BYTES_KEPT:]
