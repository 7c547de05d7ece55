"""Files with names outside of the source: what is written through those is seen, whoever had the name before."""

from __future__ import annotations

import os
import time

import pytest
from conftest import Site, wait_for


@pytest.mark.parametrize("mechanism", ["inotify", "fanotify"])
def test_another_linked_file_takes_the_name(site: Site, mechanism: str) -> None:
    if mechanism == "fanotify" and os.geteuid() != 0:
        pytest.skip("needs root")
    outside = site.base / "outside"
    outside.mkdir()
    name = site.tree / "name"
    site.start(watch=mechanism)
    for number in range(2):
        fresh = outside / f"fresh{number}"
        fresh.write_bytes(b"first")
        os.link(fresh, outside / f"other{number}")
        fresh.rename(name)
        site.settle()
        time.sleep(0.3)  # what happened until now has been looked at
        (outside / f"other{number}").write_bytes(b"second")
        wait_for(lambda: site.image()[b"/name"][-1] == b"second", 120)


@pytest.mark.parametrize("mechanism", ["inotify", "fanotify-directories", "fanotify"])
def test_the_name_that_a_change_was_made_through_goes_at_once(site: Site, mechanism: str) -> None:
    if mechanism != "inotify" and os.geteuid() != 0:
        pytest.skip("needs root")
    name, other = site.tree / "name", site.tree / "other"
    name.write_bytes(b"first")
    site.start(watch=mechanism)
    os.link(name, other)
    site.settle()
    other.write_bytes(b"second")
    other.chmod(0o751)
    other.unlink()
    wait_for(lambda: site.image()[b"/name"][-1] == b"second" and site.image()[b"/name"][1] == 0o751, 120)
    site.settle()


@pytest.mark.parametrize("mechanism", ["inotify", "fanotify"])
def test_other_names_are_watched_after_a_restart(site: Site, mechanism: str) -> None:
    if mechanism != "inotify" and os.geteuid() != 0:
        pytest.skip("needs root")
    outside = site.base / "outside"
    outside.mkdir()
    (site.tree / "name").write_bytes(b"first")
    os.link(site.tree / "name", outside / "other")
    time.sleep(0.05)  # past what the kernel's clock can't tell apart
    site.start(watch=mechanism)
    site.settle()
    site.source.stop()
    site.start(watch=mechanism)
    site.settle()
    (outside / "other").write_bytes(b"second")
    wait_for(lambda: site.image()[b"/name"][-1] == b"second", 120)
