"""A tree through our mount behaves as the plain directory does: operation by operation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from . import operations
from .mounted import CAN_MOUNT, mounted

pytestmark = pytest.mark.skipif(not CAN_MOUNT, reason="mounting needs root and /dev/fuse")


def _run(directory: Path) -> list[list[object]]:
    done = subprocess.run(
        [sys.executable, "-m", operations.__name__, str(directory)], capture_output=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    found: list[list[object]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("passes", [True, False], ids=["passed to the kernel", "answered by us"])
def test_every_operation_says_and_does_the_same(tmp_path: Path, passes: bool) -> None:
    plain = tmp_path / "plain"
    plain.mkdir(mode=0o755)
    wanted = _run(plain)
    tmp_path.chmod(0o755)
    with mounted(tmp_path, passes) as (directory, _):
        os.chmod(directory, 0o755)
        got = _run(directory)
        for one, other in zip(wanted, got, strict=True):
            assert other[:2] == one[:2]
            assert other[2] == one[2], one[0]
        assert os.listdir(tmp_path / "place" / "mechanism") == ["below"]
        _same_below(tmp_path / "mnt", tmp_path / "place")


def _same_below(directory: Path, place: Path) -> None:
    """What the mount shows is what lies below it."""
    below = (place / "mechanism" / "below").read_text().strip()
    seen = [
        subprocess.run(["find", ".", "-printf", "%p %s %m\n"], cwd=path, capture_output=True)
        for path in (directory, below)
    ]
    assert sorted(seen[0].stdout.splitlines())[1:] == sorted(seen[1].stdout.splitlines())[1:]
