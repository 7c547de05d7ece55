"""What stood in the way of the best watcher goes: capture goes back to that by itself, with one gap at most."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Site, wait_for

from engine.agent.watch.choose import better_than
from engine.model.events import GAP
from tests.mounts import mounted

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def covered() -> Iterator[tuple[Site, Path]]:
    """A source over which an overlay lies, which takes no mark on the whole of it."""
    with mounted("tmpfs") as top:
        base = top / "site"
        for name in ("tree", "upper", "work"):
            (base / name).mkdir(parents=True)
        (base / "tree" / "old").write_bytes(b"as it was")
        options = f"lowerdir={base}/tree,upperdir={base}/upper,workdir={base}/work"
        command = ["mount", "-t", "overlay", "overlay", "-o", options, str(base / "tree")]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("no overlayfs here")
        made = Site(base)
        try:
            yield made, base / "tree"
        finally:
            made.stop()


def test_the_best_comes_back_when_the_mount_that_refused_it_goes(covered: tuple[Site, Path]) -> None:
    site, tree = covered
    source = site.start()
    assert source.view.mechanism in ("fanotify-directories", "inotify")
    (tree / "new").write_bytes(b"goes with the mount")
    site.settle()
    before = gaps(site)
    subprocess.run(["umount", tree], check=True)
    wait_for(lambda: source.view.mechanism == "fanotify")
    wait_for(lambda: source.view.state == "protected" and not source.view.gap_from)
    site.settle()
    assert gaps(site) == before + 1, "the time between two mounts is a gap, and there is no other"
    (tree / "later").write_bytes(b"later")
    site.settle()
    assert (source.view.mechanism, source.view.costs.find("No better one"), gaps(site)) == ("fanotify", -1, before + 1)


def test_nothing_better_while_a_mount_below_refuses_it(covered: tuple[Site, Path]) -> None:
    _, tree = covered
    above = [os.fsencode(tree.parent)]
    assert not better_than("fanotify-directories", above, {})
    subprocess.run(["umount", tree], check=True)
    assert better_than("fanotify-directories", above, {}) and better_than("inotify", above, {})
    assert not better_than("inotify", above, {"BCS_WATCH": "inotify"}) and not better_than("fanotify", above, {})


def gaps(site: Site) -> int:
    return len(site.node.marks_of(GAP))
