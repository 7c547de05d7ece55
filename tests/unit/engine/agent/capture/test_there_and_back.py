"""A directory that leaves the source and comes back at once: what was done to it outside is seen."""

from __future__ import annotations

import os
import time

from conftest import Site, wait_for


def test_attributes_of_a_directory_below_one_that_was_away(site: Site) -> None:
    below, outside = site.tree / "a" / "b" / "c", site.base / "outside"
    below.mkdir(parents=True)
    outside.mkdir()
    site.start()
    site.settle()
    if site.source.view.mechanism != "fanotify":
        return  # others don't see what happens outside, and look at all of what comes back
    (site.tree / "a").rename(outside / "a")
    wait_for(lambda: not any(path.startswith(b"/a") for path in site.image()))
    os.utime(outside / "a" / "b" / "c", ns=(1, 123_456_789))
    time.sleep(0.15)  # so that the agent hears of it while the directory is away
    (outside / "a").rename(site.tree / "a")
    site.settle()
