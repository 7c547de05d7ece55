"""Ten thousand operations a seed: every moment that was quiet comes back as it was, every point as it can have been.

A seed that fails is printed with what replays it. BCS_SEED tries another one; `make soak` many.
"""

from __future__ import annotations

import os
import random
import shlex
from pathlib import Path

import pytest

from tests.histories import __main__ as soak
from tests.histories.digest import Digest, State, differences
from tests.histories.one import failed, one
from tests.histories.operations import operations
from tests.histories.run import Plan

SEED = int(os.environ.get("BCS_SEED", 20261122))

PLANS = {
    "in bursts": Plan(SEED, bursts=8),
    "without pause": Plan(
        SEED + 1, bursts=3, without_pause=True, workers=3, troubles=("node-stopped", "agent-stopped")
    ),
    "killed": Plan(SEED + 2, bursts=6, troubles=("agent-killed", "node-killed", "both-killed")),
    "read whole": Plan(SEED + 3, bursts=3, workers=4, environment={"BCS_WATCH": "inotify", "BCS_RANGES": "none"}),
}


@pytest.mark.parametrize("name", PLANS)
def test_a_history(name: str, tmp_path: Path) -> None:
    done = one(tmp_path, PLANS[name], points_max=12)
    assert done.moments
    assert done.points_checked >= 5


def test_a_seed_is_always_the_same_history() -> None:
    assert operations(7, 2000) == operations(7, 2000)
    assert operations(7, 2000) != operations(8, 2000)
    assert operations(7, 2000, 0) != operations(7, 2000, 1)


@pytest.mark.parametrize("name", PLANS)
def test_what_a_failed_seed_says_lives_it_again(name: str, tmp_path: Path) -> None:
    said = failed(tmp_path, PLANS[name], ["something"], " --file-system xfs")
    given = soak._parser().parse_args(shlex.split(said.split('ARGS="')[1].split('"')[0]))
    assert soak._plan(given, random.Random()) == PLANS[name]
    assert given.file_system == "xfs"


def test_every_kind_of_difference_is_told() -> None:
    plain = State("f", 0o644, 0, 0, 1, (), "", 3, (b"x",))
    other = State("f", 0o600, 0, 0, 1, (("user.a", b"1"),), "", 3, (b"y",))
    (told,) = differences(Digest({"p": plain}, {}), Digest({"p": other}, {}))
    assert "mode" in told and "xattrs" in told and "content" in told
    assert differences(Digest({"p": plain}, {}), Digest({}, {})) == ["'p': should be there"]
    (told,) = differences(Digest({"p": plain}, {"p": "o"}), Digest({"p": plain}, {}))
    assert "a link" in told
