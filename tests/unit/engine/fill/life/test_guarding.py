"""Whether a recovery is guarded, by the processes that live and the guard that its state names."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.env import processes
from engine.fill.base import FILLING, Place
from engine.fill.kept.documents import State
from engine.fill.life.guarding import guarded, life_of
from engine.fill.life.starting import FILLER, ROLE

WAITS = "import sys; print(flush=True); sys.stdin.read()"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    path = tmp_path / "recoveries" / "one"
    path.mkdir(parents=True)
    return Place(path)


@pytest.fixture
def process(place: Place) -> Iterator[subprocess.Popen[bytes]]:
    """A supervisor, as far as anybody can see from outside, that took over a guard."""
    argv = [sys.executable, "-c", WAITS, "--role", ROLE, "--guard", "boot:1:2"]
    home = place.path.parent.parent
    child = subprocess.Popen(argv, env={"BCS_HOME": str(home)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None and child.stdout.readline()
    processes.write_pid_file(place.pid(ROLE), child.pid)
    yield child
    child.communicate()


def test_a_supervisor_guards_once_the_state_names_it(place: Place, process: subprocess.Popen[bytes]) -> None:
    life = life_of(process.pid)
    boot, pid, started = life.split(":")
    assert guarded(place, State(FILLING, guard=life))
    # It lives, but what the state names is one that died: it is only about to guard the tree.
    assert not guarded(place, State(FILLING, guard=f"{boot}:{pid}:{int(started) - 1}"))
    assert not guarded(place, State(FILLING, guard=f"{boot}:1:2"))
    assert not guarded(place, State(FILLING, guard=""))
    process.communicate()
    assert not guarded(place, State(FILLING, guard=life))


def test_one_that_took_over_has_the_guard_of_the_one_before(place: Place) -> None:
    boot = life_of(1).partition(":")[0]
    argv = [sys.executable, "-c", WAITS, "--role", FILLER, "--guard", f"{boot}:1:2"]
    home = place.path.parent.parent
    with subprocess.Popen(argv, env={"BCS_HOME": str(home)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdout.readline()
        processes.write_pid_file(place.pid(FILLER), child.pid)
        assert guarded(place, State(FILLING, guard=f"{boot}:1:2"))
        assert not guarded(place, State(FILLING, guard="another boot:1:2"))
        child.communicate()
