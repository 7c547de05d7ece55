"""A recovery through FUSE at a source's own place: once its mount has gone, the source is watched as well as before."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.fill.life.choosing import why_not
from tests import plug
from tests.embedded import Site
from tests.spine.test_on_demand_history import ADDRESS, captured, recover, source_of, state


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    source = tmp_path / "source"
    source.mkdir()
    if why := why_not("fuse", os.fsencode(source)):
        pytest.skip(why)
    for number in range(10):
        (source / f"f{number}").write_bytes(os.urandom(50_000))
    with Site(tmp_path / "home") as made:
        made.start()
        made.protect(ADDRESS, source)
        made.wait_protected(ADDRESS)
        try:
            yield made
        finally:
            made.kill("agent")
            plug.take_away(made.home)


def row(site: Site) -> dict[str, Any]:
    """What the agent says of the source."""
    return dict(json.loads(site.run("agent", "status", "--json", check=False).stdout)["sources"][0])


def test_the_watcher_of_before_comes_back_by_itself(site: Site) -> None:
    source, before = source_of(site), row(site)
    if before["mechanism"] == "inotify":
        pytest.skip("no better watcher here")
    at = site.json("mark", "demo", "--label", "whole")
    assert all(mark["done"] for mark in at["marks"])
    shutil.rmtree(source)
    told = recover(site, "mark:whole", "--rate", "1KiB", "--mechanism", "fuse")
    site.wait(lambda: site.source(ADDRESS)["state"] == "protected", 120, "capture to go on")
    assert row(site)["mechanism"] == "inotify"
    gaps = site.source(ADDRESS)["gaps"]
    site.run("recover", "finish", told["id"])
    site.wait(lambda: row(site)["mechanism"] == before["mechanism"], 120, "the watcher of before")
    site.wait_protected(ADDRESS)
    assert state(site) == "ended" and row(site)["ranges"] == before["ranges"]
    (source / "f3").write_bytes(b"after the end")
    captured(site, source / "f3", b"after the end")
    after = site.source(ADDRESS)["gaps"]
    assert after - gaps in (0, 1), "what may have been missed when the mount went is one gap, and there is no other"


def test_a_recovery_that_was_cancelled_leaves_nothing_to_be_mounted_again(site: Site) -> None:
    source = source_of(site)
    assert all(mark["done"] for mark in site.json("mark", "demo", "--label", "whole")["marks"])
    shutil.rmtree(source)
    told = recover(site, "mark:whole", "--rate", "1KiB", "--mechanism", "fuse")
    site.wait(lambda: site.source(ADDRESS)["state"] == "protected", 120, "capture to go on")
    site.run("recover", "cancel", told["id"], "--yes")
    nothing = f"there is nothing at {source}"
    site.wait(lambda: site.source(ADDRESS)["message"] == nothing, 120, "what is wrong to be told")
    assert site.source(ADDRESS)["gap_open_since"] is None
