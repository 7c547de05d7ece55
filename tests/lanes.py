"""Tests by several runs of pytest beside each other that share the files between them: python -m tests.lanes [PATH...]

Most tests wait most of their time: for processes, machines, disks and lines. So there are more runs than processors,
and one of them begins with the tests on real hosts, which are the longest. The first run's output is seen as it comes,
that of the others when all are done. Files in which something failed in the crowd are run once more, each by a run of
its own and alone, and said to be unsteady if they pass then. What fails twice has failed.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from engine.env.own_directory import OwnDirectory

CACHE = Path(".pytest_cache")
MORE = 2
"""Runs above one for each processor, the lab's among them."""

PASSED, FAILED = 0, 1
PR_SET_PDEATHSIG = 1  # linux/prctl.h
AGAIN = "UNSTEADY, if they pass now: files in which something failed above, once more and each alone"


def main(paths: list[str]) -> int:
    with OwnDirectory("lanes") as claims:
        return run(paths or ["tests"], claims)


def run(paths: list[str], claims: Path) -> int:
    begun = time.monotonic()
    names = ["here", "lab", *(f"more{number}" for number in range(1, processors() + MORE - 1))]
    lanes = {name: begin(name, paths, claims) for name in names}
    try:
        codes = {name: lane.wait() for name, lane in lanes.items()}
    except KeyboardInterrupt:
        end(list(lanes.values()))
        codes = {name: lane.wait() for name, lane in lanes.items()}
        return 130
    finally:
        for name in names[1:]:
            print(f"\nWhat ran beside that, {name}:", (claims / f"{name}.out").read_text(errors="replace"), sep="\n")
    print(f"{len(names)} runs beside each other: {time.monotonic() - begun:.0f} s", flush=True)
    if not set(codes.values()) <= {PASSED, FAILED}:  # 5 too: nothing was collected
        return 1
    again = sorted({file for name in names if codes[name] == FAILED for file in failed(name)})
    if FAILED in codes.values():
        print(AGAIN, *again, sep="\n", flush=True)
        codes_alone = [subprocess.run([sys.executable, "-m", "pytest", file]).returncode for file in again]
        return next(filter(None, codes_alone), 0) if again else FAILED
    return 0


def begin(name: str, paths: list[str], claims: Path) -> subprocess.Popen[bytes]:
    """A run of pytest, with a memory of its own for what failed. A session of its own, so that it is interrupted once,
    by `end` or by the end of this process whatever that was, and not by the terminal too while it clears up."""
    shutil.rmtree(CACHE / name, ignore_errors=True)
    argv = [sys.executable, "-m", "pytest", "-o", f"cache_dir={CACHE / name}", f"--claims={claims}", *paths]
    if name == "lab":
        argv.append("--lab-first")
    live = name == "here"
    with (claims / f"{name}.out").open("wb") as said:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=None if live else said,
            stderr=None if live else said,
            start_new_session=True,
            preexec_fn=to_be_interrupted,
        )


def to_be_interrupted() -> None:
    """Though whoever started us in the background may have had us ignore it, and tests of Ctrl-C with us."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)


def end(lanes: list[subprocess.Popen[bytes]]) -> None:
    """They are interrupted, and clear up what they have begun."""
    for lane in lanes:
        if lane.poll() is None:
            lane.send_signal(signal.SIGINT)


def failed(name: str) -> set[str]:
    """The files in which something failed; whole, since tests of a file may build on one another."""
    try:
        value = json.loads((CACHE / name / "v" / "cache" / "lastfailed").read_text())
    except OSError:
        return set()
    return {test.partition("::")[0] for test in value}


def processors() -> int:
    return len(os.sched_getaffinity(0))


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    sys.exit(main(sys.argv[1:]))
