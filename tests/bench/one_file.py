"""One file out of a long history: from the command to the file, and how soon one may look at the rest.

    python -m tests.bench.one_file [--events 20000000] [--files 200000] [--place DIR] [--keep] [--json FILE]

Each figure is the median of whole processes, `bcsctl ...` with its imports, in a warm page cache. With --keep the
history stays and the next run uses it.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.model.times import format_time
from tests.bench import figures
from tests.bench.figures import Figure, middle
from tests.bench.history import ADDRESS, EVENT_US, PATH, History, file_path, make
from tests.embedded import ROOT

PLACE = Path(".bench").resolve() / "one-file"
ROUNDS = 5
SECONDS_MAX = 1.0


@dataclass(frozen=True, slots=True)
class Run:
    """A command from its start to its end."""

    wall_seconds: float
    cpu_seconds: float


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.bench.one_file", description=__doc__)
    options.add_argument("--events", type=int, default=20_000_000)
    options.add_argument("--files", type=int, default=200_000)
    options.add_argument("--place", type=Path, default=PLACE)
    options.add_argument("--rounds", type=int, default=ROUNDS)
    options.add_argument("--keep", action="store_true")
    options.add_argument("--json", type=Path)
    given = options.parse_args()
    found = measure(given.place, given.events, given.files, given.rounds, keep=given.keep)
    sys.stdout.write(figures.table(found))
    if given.json:
        figures.write(found, given.json)
    return 0


def measure(place: Path, events: int, files: int, rounds: int = ROUNDS, *, keep: bool = False) -> list[Figure]:
    """Make the history, unless it was kept, and ask it."""
    home = place / f"home-{events}-{files}"
    try:
        if (home / "made").exists():
            at = int((home / "made").read_text())
            history = History(home, events, at, file_path(0), file_path(files // 2))
            making = float("nan")
        else:
            shutil.rmtree(home, ignore_errors=True)
            began = time.monotonic()
            history = make(home, events, files)
            making = time.monotonic() - began
            at = history.ended_at
            (home / "made").write_text(str(at))
        return [Figure("history", "made and merged", making, "s"), *_asked(history, place, rounds)]
    finally:
        if not keep:
            shutil.rmtree(place, ignore_errors=True)


def _asked(history: History, place: Path, rounds: int) -> list[Figure]:
    """Times of the commands; `then` is in the middle of the history."""
    latest, then = "latest", format_time(history.ended_at - history.events * EVENT_US // 2)
    busy, quiet = f"{ADDRESS}:{history.path}", f"{ADDRESS}:{history.quiet_path}"
    folder = os.path.dirname(history.quiet_path)
    found: list[Figure] = []
    for what, path, at in (
        ("restore a file that changed often, latest", busy, latest),
        ("restore a file that changed seldom, latest", quiet, latest),
        ("restore a file that changed often, in the middle", busy, then),
        ("restore a file that changed seldom, in the middle", quiet, then),
    ):
        runs = [_restored(history, place, path, at) for _ in range(rounds)]
        found.append(_figure("one file", what, runs, SECONDS_MAX))
    for what, argv in (
        ("cat, latest", ["cat", quiet]),
        ("ls of a directory, latest", ["ls", f"{ADDRESS}:{folder}"]),
        ("ls of a directory, in the middle", ["ls", f"{ADDRESS}:{folder}", "--at", then]),
        ("points, the last 20", ["points", ADDRESS, "--limit", "20"]),
        ("log of a file that changed seldom", ["log", quiet]),
        ("log of a file that changed often, the last 20", ["log", busy, "--limit", "20"]),
        ("diff of a directory since the middle", ["diff", f"{ADDRESS}:{folder}", "--from", then]),
        ("search for a name", ["search", os.path.basename(history.quiet_path)]),
        ("search for a glob on paths", ["search", f"{PATH}/d000001/*"]),
    ):
        found.append(_figure("looking", what, [_run(history, argv) for _ in range(rounds)]))
    return found


def _figure(part: str, what: str, runs: Sequence[Run], at_most: float | None = None) -> Figure:
    busy = middle([run.cpu_seconds for run in runs])
    return Figure(part, what, middle([run.wall_seconds for run in runs]), "s", at_most, note=f"{busy:.2f} CPU s")


def _restored(history: History, place: Path, path: str, at: str) -> Run:
    target = place / "restored"
    shutil.rmtree(target, ignore_errors=True)
    try:
        run = _run(history, ["restore", path, "--at", at, "--to", str(target)])
        [file] = target.iterdir()
        if not file.stat().st_size:
            raise RuntimeError(f"{path} came back empty")
        return run
    finally:
        shutil.rmtree(target, ignore_errors=True)


def _run(history: History, argv: Sequence[str]) -> Run:
    environment = {**os.environ, "BCS_HOME": str(history.home), "PYTHONPATH": str(ROOT), "BCS_SITE": "local"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "bcsctl", *argv], env=environment, capture_output=True)
    seconds = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"bcsctl {' '.join(argv)}: {done.stderr.decode()[-500:]}")
    return Run(seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


if __name__ == "__main__":
    sys.exit(main())
