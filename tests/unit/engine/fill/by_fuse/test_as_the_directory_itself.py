"""A tree through our mount behaves as the plain directory does: operation by operation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.fuse import requests

from . import operations
from .mounted import CAN_MOUNT, mounted

MINOR_OF_5_10, FLAGS_OF_5_10 = 32, (1 << 28) - 1
"""include/uapi/linux/fuse.h of Linux 5.10: the last flag is FUSE_SUBMOUNTS, 1 << 27."""

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
    _compared(tmp_path, passes)


def test_with_no_more_than_linux_5_10_offers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FUSE 7.32, without the flags that came later: what was agreed on is what this kernel keeps to."""
    kernels = requests.offered

    def older(body: memoryview) -> tuple[int, int, int, int]:
        major, _, ahead, flags = kernels(body)
        return major, MINOR_OF_5_10, ahead, flags & FLAGS_OF_5_10

    monkeypatch.setattr(requests, "offered", older)
    _compared(tmp_path, True, set_group_stays=True)


def _compared(tmp_path: Path, passes: bool, *, set_group_stays: bool = False) -> None:
    """`set_group_stays`: set-group-ID without the group's right to execute is no privilege, as it was for every file
    system before Linux 6.2."""
    plain = tmp_path / "plain"
    plain.mkdir(mode=0o755)
    wanted = _run(plain)
    tmp_path.chmod(0o755)
    with mounted(tmp_path, passes) as (directory, _):
        os.chmod(directory, 0o755)
        got = _run(directory)
        if set_group_stays:
            wanted = [[name, str(said).replace("'0o100767'", "'0o102767'"), *rest] for name, said, *rest in wanted]
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
