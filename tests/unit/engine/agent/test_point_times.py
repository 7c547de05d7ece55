"""A point's time is never before a change that it contains, and a quiet one was really quiet."""

from __future__ import annotations

import os
import time

import pytest
from conftest import Site, wait_for

MECHANISMS = ["inotify", pytest.param("fanotify", marks=pytest.mark.skipif(os.geteuid() != 0, reason="needs root"))]


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_what_is_made_in_a_directory_that_nobody_watches_yet(site: Site, mechanism: str) -> None:
    site.start(watch=mechanism)
    clock = site.settings.site_clock
    for number in range(5):
        inside = site.tree / f"new{number}"
        inside.mkdir()
        time.sleep(0.008)  # within the nap that follows the directory's own event
        before = clock.now()
        (inside / "file").write_bytes(b"x")
        site.settle()
        path = b"/new%d/file" % number
        first = next(point for point in site.node.points() if path in site.image(point.lsn))
        assert first.at >= before, (first, before)


def test_a_watcher_that_sees_nothing_claims_nothing(site: Site) -> None:
    (site.tree / "file").write_bytes(b"1")
    source = site.start(watch="scan", scan_interval_seconds=3600.0)
    scanned = site.settings.site_clock.now()
    (site.tree / "file").write_bytes(b"2")
    time.sleep(2.5)  # two looks at the directories above, after which an idle watcher would call itself complete
    assert {point.point_class for point in site.node.points()} == {"fuzzy"}
    assert source.view.through_at <= scanned


def test_a_look_that_finds_nothing_new_says_so_too(site: Site) -> None:
    (site.tree / "file").write_bytes(b"1")
    source = site.start(watch="scan", scan_interval_seconds=0.2)
    for _ in range(2):
        idle_at = site.settings.site_clock.now()
        wait_for(lambda idle_at=idle_at: source.view.through_at > idle_at)


def test_a_mark_without_a_watcher_takes_a_look(site: Site) -> None:
    source = site.start(watch="scan", scan_interval_seconds=3600.0)
    (site.tree / "file").write_bytes(b"2")
    asked_at = site.settings.site_clock.now()
    source.ask_mark("id", "before the upgrade")
    wait_for(lambda: source.view.marks_done)
    wait_for(lambda: source.view.through_at >= asked_at)
    assert b"/file" in site.image()
    assert "before the upgrade" in [mark.label for mark in site.node.marks_of("bookmark")]
