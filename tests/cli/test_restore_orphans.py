"""Workers of a restore whose parent was killed end, and say nothing on the terminal."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import pytest

from tests.cli.conftest import ROOT

PARENT = """
import sys, time
from engine.recovery import workers
worker = workers._start()
worker.stdin.write(sys.stdin.buffer.read())
worker.stdin.flush()
print("given", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("given", [0, 20_000], ids=["nothing", "half"])
def test_a_killed_parent_leaves_no_traceback(given: int) -> None:
    work = pickle.dumps(("/nowhere", b"\0" * 32, "stream", False, [b"x" * 100] * 1000 + [os.urandom(40_000)]))
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert parent.stdin is not None and parent.stdout is not None and parent.stderr is not None
    try:
        parent.stdin.write(work[:given])
        parent.stdin.close()
        assert parent.stdout.readline() == b"given\n"
    finally:
        parent.kill()
    # The worker has the same standard error: it is at its end when both are gone.
    assert parent.stderr.read() == b""
    parent.wait()
    parent.stdout.close()
    parent.stderr.close()
