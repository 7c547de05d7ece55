"""Whatever happens on disk while the agent is down, or only scans: in the end the history equals it.

What happens while it watches is for tests/histories.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest
from conftest import Site
from random_changes import Changes

SEEDS = [int(os.environ["BCS_SEED"])] if "BCS_SEED" in os.environ else [random.randrange(10**9) for _ in range(2)]


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
