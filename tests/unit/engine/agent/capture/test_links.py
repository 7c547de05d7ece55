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
        wait_for(lambda: site.image()[b"/name"][-1] == b"second", 10)
