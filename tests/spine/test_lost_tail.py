"""The journal's last commits vanish behind the node's back: it shows, and no position is used a second time."""

from __future__ import annotations

import json
from pathlib import Path

from engine.tree.compare import compare
from tests.embedded import Site

ADDRESS = "lost/localhost/files"


def spooled_bytes(home: Path) -> int:
    return sum(path.stat().st_size for path in home.rglob("spool/*"))


def test_a_lost_tail_shows_and_its_positions_are_not_used_again(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "first").write_text("1")
    with Site(tmp_path / "home").start() as site:
        stream = site.protect(ADDRESS, tree)
        site.wait_protected(ADDRESS)
        before = site.source(ADDRESS)["point"]
        l0 = site.home / "journal" / "L0"
        kept = set(l0.rglob("*.parquet"))
        (tree / "second").write_text("2")
        site.wait(lambda: site.source(ADDRESS)["point"] != before, 120, "the change to be acknowledged")
        lost = site.source(ADDRESS)["point"]
        # Until the agent has noted the acknowledgement for good, its spool would heal all this by itself.
        # It notes what it was told once a second, and then lets go of what was spooled.
        site.wait(lambda: not spooled_bytes(site.home), 120, "the agent to note it")
        site.kill("agent")
        site.kill("node")
        for path in set(l0.rglob("*.parquet")) - kept:
            path.unlink()
        site.start()
        site.wait_protected(ADDRESS)
        site.run("restore", ADDRESS, "--to", str(tmp_path / "out"))
        points = site.json("points", ADDRESS, "--limit", "1000")
    assert [each for each in compare(bytes(tree), bytes(tmp_path / "out")) if each.path != b"."] == []
    epoch = json.loads((site.home / "journal" / "streams" / stream / "epochs" / "00000002.json").read_text())
    assert epoch["cause"] == "acknowledged events are missing"
    assert "the node has lost what it had acknowledged" in [gap["reason"] for gap in points["gaps"]]
    assert lost not in [point["point"] for point in points["points"]]
