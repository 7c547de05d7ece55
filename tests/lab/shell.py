"""Commands that a lab runs, and the cgroup they live in, so that one write ends them all."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from tests.lab.errors import LabError, LabImpossible

PATH = f"{os.environ.get('PATH') or os.defpath}:/usr/sbin:/sbin"
JOIN = 'echo 0 >"$0/cgroup.procs" && exec "$@"'


def sh(*argv: str | Path, stdin: str | None = None, timeout_seconds: float = 120.0) -> str:
    """What the command says, stdout and stderr. Raises LabError with it when the command fails."""
    text = [str(part) for part in argv]
    try:
        done = subprocess.run(
            text,
            input=stdin if stdin is not None else "",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="backslashreplace",
            timeout=timeout_seconds,
            env={**os.environ, "PATH": PATH},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LabError(f"{' '.join(text)}: {error}") from None
    if done.returncode:
        raise LabError(f"{' '.join(text)}: {done.stdout.strip()[-2000:]}")
    return done.stdout


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Raises LabError when it doesn't become true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise LabError(f"waited {seconds:g} s in vain for {what}")
        time.sleep(0.02)


def cgroups() -> Path:
    """Where cgroup version 2 is mounted: all of it, or beside version 1."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, options, *_ = line.split()
        if kind == "cgroup2" and "rw" in options.split(","):
            return Path(where)
    raise LabImpossible("cgroup version 2 is not mounted for writing")


def joined(cgroup: Path, argv: Sequence[str | Path]) -> list[str]:
    """The command, run as a member of the cgroup from its first instruction on."""
    return ["sh", "-c", JOIN, str(cgroup), *map(str, argv)]


def end_cgroup(cgroup: Path, seconds: float = 120.0) -> None:
    """Kill everything in it and below at once, as a power cut does, and remove it. Fine when it isn't there."""
    if not cgroup.is_dir():
        return
    wait_for(lambda: _killed_and_removed(cgroup), seconds, f"{cgroup} to end")


def _killed_and_removed(cgroup: Path) -> bool:
    """Whoever was about to join when the others were killed is killed by the next call."""
    with suppress(OSError):
        (cgroup / "cgroup.kill").write_text("1")
        for directory in sorted((path for path in cgroup.rglob("*") if path.is_dir()), reverse=True):
            directory.rmdir()
        cgroup.rmdir()
    return not cgroup.exists()
