"""Workers of a restore whose parent was killed end, and say nothing on the terminal."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.cli.conftest import ROOT

PARENT = """
import itertools, sys, time
from engine.model.events import Inode
from engine.recovery import workers
from engine.recovery.fill import FileTask, Filled

def filled(tasks, *rest):
    print("begun", flush=True)
    for task in tasks:
        time.sleep(float(sys.argv[1]))
        yield Filled(task.target, 2 << 20)

workers.fill_all = filled
task = FileTask(b"/nowhere", Inode(1, 1, 1, "f", 0o600, 0, 0, 0, 0), ())
for _ in workers.fill_in_processes(None, "stream", [task] * 100_000, [range(100_000)], False, 1):
    pass
"""


@pytest.mark.parametrize("seconds_a_file", ["600", "0.001"], ids=["idle", "answering"])
def test_a_killed_parent_leaves_no_worker_and_no_traceback(seconds_a_file: str) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, seconds_a_file],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert parent.stdout is not None and parent.stderr is not None
    try:
        assert parent.stdout.readline() == b"begun\n"
    finally:
        parent.kill()
    # The worker has the same standard error: it is at its end when both are gone.
    assert parent.stderr.read() == b""
    parent.wait()
    parent.stdout.close()
    parent.stderr.close()
