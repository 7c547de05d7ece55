"""Changed ranges through a whole source: what the node has equals the disk, whatever the old bytes are kept for."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Site

from engine.agent.capture.cache import OldBytes
from engine.tree.sparse import make_hole

BLOCK = 8192
SEED = int(os.environ.get("BCS_SEED", random.randrange(10**9)))


def patch(path: Path, at: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)


@pytest.mark.parametrize("size", [100 * 1024, 6 << 20])
def test_a_small_change_costs_about_its_size(site: Site, size: int) -> None:
    file = site.tree / "file"
    file.write_bytes(os.urandom(size))
    site.start(watch="inotify")
    patch(file, 50_000, os.urandom(100))  # of a large file the old bytes are kept from its first change on
    site.settle()
    for number in range(5):
        before, counted = site.node.raw_bytes, replace(site.settings.traffic)
        patch(file, 50_000 + 150 * number, os.urandom(100))
        site.settle()
        assert site.node.raw_bytes - before <= 200
        told = site.source.report()
        assert 90 <= told["bytes_changed"] - counted.changed <= 200  # bytes may be equal by chance
        assert 100 <= told["bytes_sent"] - counted.sent <= 2000
        assert told["bytes_read"] > counted.read


@pytest.mark.parametrize("budget_bytes", [0, 20 * BLOCK, 64 << 20])
def test_any_edits(site: Site, budget_bytes: int) -> None:
    choose = random.Random(SEED)
    files = [site.tree / name for name in ("a", "b", "large")]
    for file in files[:2]:
        file.write_bytes(choose.randbytes(70_000))
    files[2].write_bytes(choose.randbytes(5 << 20))
    site.start(watch="inotify", old_bytes=OldBytes(budget_bytes))
    for number in range(120):
        file = choose.choice(files)
        size = file.stat().st_size
        what = choose.choice(["patch"] * 6 + ["append", "grow", "truncate", "punch", "patch and append", "replace"])
        if "patch" in what:
            for _ in range(choose.randrange(1, 5)):
                patch(file, choose.randrange(max(1, size)), choose.randbytes(choose.choice([1, 10, 100, 3000, 20_000])))
        if "append" in what:
            with file.open("ab") as opened:
                opened.write(choose.randbytes(choose.choice([1, 1000, 9000])))
        if what == "grow":
            os.truncate(file, size + choose.randrange(30_000))
        if what == "truncate":
            os.truncate(file, choose.randrange(size + 1))
        if what == "punch":
            with file.open("r+b") as opened:
                make_hole(opened.fileno(), choose.randrange(size + 1) & ~4095, choose.choice([4096, 16384]))
        if what == "replace":
            (site.tree / "new").write_bytes(choose.randbytes(50_000))
            (site.tree / "new").rename(file)
        if number % 12 == 11:
            site.settle()
    site.settle()
    assert site.settings.old_bytes.bytes <= budget_bytes, f"seed {SEED}"


def test_a_history_that_was_lost_is_sent_again(site: Site) -> None:
    """The node goes back to an older state: the old bytes are newer than what it has."""
    file = site.tree / "file"
    file.write_bytes(os.urandom(50_000))
    site.start(watch="inotify")
    patch(file, 10, b"one")
    site.settle()
    site.source.stop()
    node, lsn = site.node, site.node.points()[0].lsn
    node.events[:] = [event for event in node.events if event.lsn <= lsn]
    node.head = replace(node.head, lsn=lsn, hash=node.sent_hashes[lsn])
    patch(file, 5000, b"two")
    site.start(watch="inotify", wait=False)
    site.settle()
