"""Commands of the policy on the host, before a crash point is taken and after it."""

from __future__ import annotations

import os
import signal
import subprocess

from engine.agent.points.hold import NotHeld

KEPT_BYTES = 400


def run_hook(which: str, command: str, timeout_seconds: float) -> None:
    """Run a shell command, in a session of its own. NotHeld when it fails or is not done in time; then it is killed
    with all that it started there."""
    process = subprocess.Popen(
        ["/bin/sh", "-c", command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=timeout_seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise NotHeld(f"the hook '{which}' was not done within {timeout_seconds:g} s") from None
    if process.returncode:
        said = output[-KEPT_BYTES:].decode("utf-8", "replace").strip().replace("\n", "; ")
        raise NotHeld(f"the hook '{which}' failed with exit code {process.returncode}{': ' if said else ''}{said}")
