"""kill -9 of the agent and of the node, again and again while files change: nothing acknowledged is lost.

What is protected at the end equals the disk; each kill of the agent left a gap that was closed
by its catch-up; each state that the writer saw acknowledged is still there to be restored.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

from engine.model.times import format_time
from engine.tree.compare import compare
from tests.embedded import Site

ADDRESS = "kills/localhost/files"
ROUNDS = 6


def write_some(tree: Path, source: random.Random) -> None:
    """A burst of changes of every usual kind."""
    for _ in range(15):
        files = sorted(path for path in tree.rglob("*") if path.is_file())
        act = source.randrange(6)
        if act <= 2 or len(files) < 5:
            path = tree / f"d{source.randrange(4)}" / f"f{source.randrange(60)}"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(source.randbytes(source.randrange(40_000)))
        elif act == 3:
            source.choice(files).rename(tree / f"moved{source.randrange(30)}")
        elif act == 4:
            source.choice(files).unlink()
        else:
            with source.choice(files).open("r+b") as file:
                file.seek(source.randrange(20_000))
                file.write(source.randbytes(100))
    (tree / "count").write_text(str(source.random()))


def settled(site: Site) -> str:
    """Wait until all that is on disk now is acknowledged; the point that holds it."""
    now = time.time_ns() // 1000

    def complete() -> bool:
        row = site.source(ADDRESS)
        through = row["through_at"]
        return row["protected"] == "protected" and through is not None and through >= format_time(now)

    site.wait(complete, 120, "everything to be acknowledged")
    return str(site.source(ADDRESS)["point"])


def test_kills_lose_nothing(tmp_path: Path) -> None:
    source = random.Random(20)
    tree = tmp_path / "tree"
    tree.mkdir()
    write_some(tree, source)
    seen: list[tuple[str, str]] = []
    with Site(tmp_path / "home").start() as site:
        site.protect(ADDRESS, tree)
        site.wait_protected(ADDRESS)
        for number in range(ROUNDS):
            write_some(tree, source)
            victims = (["agent"], ["node"], ["agent", "node"])[number % 3]
            for victim in victims:
                site.kill(victim)
            write_some(tree, source)
            if "node" in victims:
                site.start_node()
            if "agent" in victims:
                site.start_agent()
            write_some(tree, source)
            seen.append((settled(site), (tree / "count").read_text()))
        site.run("restore", ADDRESS, "--to", str(tmp_path / "out"))
        # The directory that was restored into is a new one of its own; all that is in it must be equal.
        assert [each for each in compare(bytes(tree), bytes(tmp_path / "out")) if each.path != b"."] == []
        for point, count in seen:
            was = site.run("cat", f"{ADDRESS}:{tree}/count", "--at", f"point:{point}").stdout.decode()
            assert was == count
        gaps = site.json("points", ADDRESS)["gaps"]
        assert len(gaps) >= ROUNDS * 2 // 3, gaps
        assert all(gap["to"] for gap in gaps), "a gap stayed open"
        report = site.json("check", "--read-data")
        assert report["errors"] == []
