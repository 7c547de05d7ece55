"""Faults planted in the product are found by its histories, each of them; without the fault the same history is right.

Power cuts are real ones as far as the file system goes: it is shut down without its log being flushed.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from engine.model.errors import BcsError
from tests.histories.check import Checked, check
from tests.histories.one import one, scratch
from tests.histories.operations import EXCLUDED, operations
from tests.histories.passed import Recorder
from tests.histories.planted import Planted, cut_power, planted
from tests.histories.run import ADDRESS, Lived, Plan, note, note_kept, now
from tests.mounts import Volume, volume

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
PLAN = Plan(11, count=1500, workers=1, bursts=3, large_bytes=0)
LONG = replace(PLAN, count=3000)

ACKNOWLEDGED_SECONDS = 2.5
"""After this the agent has noted what the node has, and no longer has it in its spool."""

FOUND = [
    ("growth-is-append", LONG),
    ("batch-dropped", PLAN),
    ("batch-acknowledged-only", PLAN),
    ("attributes-forgotten", LONG),
    pytest.param("overflow-ignored", LONG, marks=as_root),
    pytest.param("links-not-watched", replace(LONG, seed=46), marks=as_root),
]


TRIES = 8


@pytest.mark.parametrize(("fault", "plan"), FOUND)
def test_a_planted_fault_is_found(fault: str, plan: Plan, tmp_path: Path) -> None:
    """In one of a few lives: what an agent sees between two operations is not the same each time."""
    for number in range(TRIES):
        base = tmp_path / str(number)
        base.mkdir()
        try:
            one(base, replace(plan, seed=plan.seed + number), planted(base / "home", fault), points_max=15)
        except AssertionError as found:
            assert re.search(r"seed \d+ failed: ", str(found)), found
            # The history is what is wrong: everything began, and was called kept.
            assert any(word in str(found) for word in ("\nmoment ", "\npoint ", "Damaged: ", "\ngaps ")), found
            return
    pytest.fail(f"{TRIES} histories with this fault were right")


def test_without_a_fault_the_same_history_is_right(tmp_path: Path) -> None:
    assert one(tmp_path, LONG, planted(tmp_path / "home", ""), points_max=15).moments == 3


@as_root
def test_an_overflow_that_is_heeded_loses_nothing(tmp_path: Path) -> None:
    assert one(tmp_path, replace(PLAN, gaps=True), planted(tmp_path / "home", "overflow"), points_max=15).gaps


def after_a_power_cut(base: Path, fault: str, node_away: bool) -> Checked:
    """Live through a power cut under BCS_HOME: of all that was there just before, and of what came before and after.

    `node_away`: what was captured last is in the agent's spool and nowhere else when it comes.
    """
    base.mkdir()
    with volume("ext4", 256 << 20) as disk:
        disk.mount("commit=300")
        lived = live_with_cut(base, disk, planted(disk.path / "home", fault), node_away)
        with scratch(base) as restored:
            return check(lived, replace(PLAN, gaps=True), restored, points_max=5)


def live_with_cut(base: Path, disk: Volume, site: Planted, node_away: bool) -> Lived:
    for name in ("tree", "outside"):
        (base / name).mkdir()
    lived, recorder = Lived(site.home), Recorder(str(base))
    waiting = iter(operations(PLAN.seed, 600, large_bytes=0))

    def go(count: int) -> None:
        for each in islice(waiting, count):
            recorder.act(each)

    with site:
        go(100)
        site.start()
        site.protect(ADDRESS, base / "tree", exclude=EXCLUDED)
        site.wait_protected(ADDRESS)
        lived.began = now()
        go(100)
        note_kept(site, base, lived)
        subprocess.run(["sync", "-f", disk.path], check=True)  # what was there before is not what this is about
        go(50)
        note_kept(site, base, lived)
        if node_away:
            site.kill("node")
            go(150)
            wait_spooled(site.home)
            note(base, lived)
        else:
            time.sleep(ACKNOWLEDGED_SECONDS)
        cut_power(disk, site)
        go(100)
        site.start()
        note_kept(site, base, lived)
        lived.ended, lived.passed = now(), recorder.passed
    return lived


def wait_spooled(home: Path) -> None:
    """Until the agent, whose node is away, has nothing more to put into its spool."""
    sizes: list[int] = []
    while len(sizes) < 10 or not sizes[-1] or len(set(sizes[-10:])) > 1:
        sizes.append(sum(path.stat().st_size for path in home.rglob("spool/*")))
        assert len(sizes) < 300
        time.sleep(0.1)


@as_root
@pytest.mark.parametrize("node_away", [True, False])
def test_a_power_cut_loses_nothing_that_was_kept(node_away: bool, tmp_path: Path) -> None:
    done = after_a_power_cut(tmp_path / "base", "", node_away)
    assert done.wrong == []
    assert done.moments == 3 + node_away


@as_root
@pytest.mark.parametrize(
    ("fault", "node_away"), [("spool-not-synced", True), ("record-not-synced", True), ("objects-not-synced", False)]
)
def test_a_sync_that_is_left_out_is_found(fault: str, node_away: bool, tmp_path: Path) -> None:
    try:
        wrong = after_a_power_cut(tmp_path / "base", fault, node_away).wrong
    except (AssertionError, BcsError) as error:
        wrong = [str(error)]
    # A moment is not as it was; or nothing is to be had, since an object is not what it was.
    assert [each for each in wrong if each.startswith("moment") or "damaged" in each or "missing" in each], wrong
