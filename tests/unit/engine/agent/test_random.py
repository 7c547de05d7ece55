"""Whatever happens on disk while the agent runs: in the end the history equals it, and so did every quiet moment."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest
from conftest import Site, wait_for
from disk import differences
from random_changes import Changes

from engine.model.points import QUIET

MECHANISMS = ["inotify", pytest.param("fanotify", marks=pytest.mark.skipif(os.geteuid() != 0, reason="needs root"))]
SEEDS = [int(os.environ["BCS_SEED"])] if "BCS_SEED" in os.environ else [random.randrange(10**9) for _ in range(2)]


def quiet_moment(site: Site) -> int:
    """A time, microseconds, after a last change and after the quiet point that holds it, however slow the machine."""
    written = time.time_ns() // 1000
    (site.tree / f"last-{written}").touch()
    wait_for(lambda: (last := site.node.points()[-1]).at >= written and last.point_class == QUIET)
    return time.time_ns() // 1000


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("seed", SEEDS)
def test_any_history(site: Site, mechanism: str, seed: int) -> None:
    changes = Changes(site.tree, site.base / "outside", seed)
    for _ in range(60):
        changes.step()
    site.start(watch=mechanism)
    noted = []
    for _ in range(12):
        for _ in range(changes.random.choice([1, 3, 10, 30])):
            changes.step()
            time.sleep(changes.random.choice([0, 0, 0.001, 0.02]))
        noted.append((quiet_moment(site), site.disk()))
    site.settle()
    points = site.node.points()
    assert [point.at for point in points] == sorted(point.at for point in points)
    for at, image in noted:
        point = [point for point in points if point.at <= at][-1]
        assert point.point_class == QUIET
        assert not differences(site.image(point.lsn), image), f"seed {seed}"


@pytest.mark.parametrize("seed", SEEDS)
def test_changes_while_the_agent_is_down(site: Site, seed: int) -> None:
    changes = Changes(site.tree, site.base / "outside", seed)
    for _ in range(4):
        for _ in range(40):
            changes.step()
        time.sleep(0.02)  # further apart than the kernel's tick
        site.start(watch="inotify")
        site.settle()
        site.source.stop()
    gaps = site.node.marks_of("gap")
    assert [gap.label for gap in gaps] == ["agent was down"] * 3
    assert all(gap.gap_from < gap.at for gap in gaps)


def test_scanning_finds_everything_too(site: Site, tmp_path: Path) -> None:
    changes = Changes(site.tree, site.base / "outside", 3)
    site.start(watch="scan", scan_interval_seconds=0.1)
    for _ in range(100):
        changes.step()
        time.sleep(0.005)
    site.settle()
    assert not site.node.marks_of("gap")
