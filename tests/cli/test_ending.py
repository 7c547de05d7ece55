"""How a command's process ends: with all that others may count on, and no more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import atexit, sys, threading
from bcsctl import app

class Large:
    def __del__(self):
        print("taken apart")

large = Large()
atexit.register(print, "handler")
threading.Timer(0.05, print, ["thread"]).start()
sys.argv = ["bcsctl", *sys.argv[1:]]
app.main()
"""


def ended(*arguments: str, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM, *arguments]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=120)


def test_it_waits_for_threads_calls_exit_handlers_writes_all_and_takes_nothing_apart() -> None:
    done = ended("--version")
    assert (done.returncode, done.stderr) == (0, "")
    *others, last = done.stdout.splitlines()
    version, thread = sorted(others)
    assert version.startswith("bcsctl") and (thread, last) == ("thread", "handler")


@pytest.mark.parametrize(("arguments", "code"), [(("no-such-command",), 2), (("validate", "/nowhere"), 3)])
def test_its_exit_code_and_what_went_wrong_arrive(arguments: tuple[str, ...], code: int) -> None:
    done = ended(*arguments)
    assert done.returncode == code and done.stderr.startswith("error: ")
    assert done.stdout.splitlines() == ["thread", "handler"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that takes nothing")
def test_what_could_not_be_written_is_no_success() -> None:
    with open("/dev/full", "w") as full:
        assert ended("--version", stdout=full.fileno()).returncode != 0


def test_who_began_without_standard_output_has_its_exit_code_all_the_same() -> None:
    command = ["sh", "-c", 'exec "$0" -m bcsctl no-such-command >&-', sys.executable]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=120)
    assert done.returncode == 2 and "Traceback" not in done.stderr
