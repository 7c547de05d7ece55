"""A real node that stands still, dies, or has no room, while files change: it acknowledges what it has and no more.

BCS_AWAY_SECONDS says for how long it does either: 150 for minutes.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from engine.agent.status.asking import state_of
from engine.model.times import format_time, parse_time
from engine.tree.compare import compare
from tests.embedded import Site
from tests.failures.test_no_room import Application, fill
from tests.mounts import mounted

ADDRESS = "failures/localhost/files"
AWAY_SECONDS = float(os.environ.get("BCS_AWAY_SECONDS", "3"))
PASSES = 2
"""The first that ends after a moment may have begun before it; one more, as the clocks are not quite the same."""


def protected_tree(base: Path, site: Site) -> Path:
    tree = base / "tree"
    tree.mkdir()
    (tree / "f").write_text("first")
    site.start()
    site.protect(ADDRESS, tree)
    site.wait_protected(ADDRESS)
    return tree


def settled(site: Site) -> str:
    """Wait until all that is on disk now is acknowledged; the point that holds it."""
    now = format_time(time.time_ns() // 1000)

    def complete() -> bool:
        row = site.source(ADDRESS)
        return row["protected"] == "protected" and (row["through_at"] or "") >= now

    site.wait(complete, 120, "everything to be acknowledged")
    return str(site.source(ADDRESS)["point"])


def looked_at(site: Site, at: int) -> None:
    """Wait for passes of the agent, which asks no node for them, until one began after `at`; something changes all the
    time, and each pass begins when the one before has ended."""
    ends: set[int] = set()

    def passed() -> bool:
        [source] = state_of(site.home)["sources"]
        ends.update([source["last_change_at"]] if (source["last_change_at"] or 0) > at else [])
        return len(ends) > PASSES

    site.wait(passed, 120, "the agent to look")


def same(site: Site, tree: Path, out: Path) -> None:
    """What is restored equals the disk."""
    site.run("restore", ADDRESS, "--to", str(out))
    assert [each for each in compare(bytes(tree), bytes(out)) if each.path != b"."] == []


def test_a_node_that_is_away_for_a_while(tmp_path: Path) -> None:
    """Standing still, and dead: all that is written meanwhile is there afterwards, every state of it, without a gap."""
    with Site(tmp_path / "home") as site:
        tree = protected_tree(tmp_path, site)
        assert site.node is not None
        with Application(tree) as application:
            site.node.send_signal(signal.SIGSTOP)
            time.sleep(AWAY_SECONDS)
            (tree / "while it stood").write_text("1")
            looked_at(site, time.time_ns() // 1000)
            asked = time.time_ns() // 1000
            time.sleep(1)
            (tree / "while it stood").write_text("2")
            site.node.send_signal(signal.SIGCONT)
            site.wait(lambda: bool(site.source(ADDRESS)["through_at"]), 120, "the node to answer")
            site.kill("node")
            time.sleep(AWAY_SECONDS)
            site.start_node()
            time.sleep(0.5)
        assert not application.errors
        assert not application.waited(), "for the node"
        settled(site)
        same(site, tree, tmp_path / "out")
        was = site.run("cat", f"{ADDRESS}:{tree}/while it stood", "--at", format_time(asked + 500_000)).stdout
        assert was == b"1", "a moment in which the node stood still is not to be had"
        assert site.json("points", ADDRESS)["gaps"] == []


def test_no_room_for_the_journal(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with mounted("ext4", 48 << 20) as disk:
        home.mkdir()
        (home / "journal").symlink_to(disk)
        with Site(home) as site:
            tree = protected_tree(tmp_path, site)
            before = settled(site)
            fill(disk / "of others")
            with Application(tree, 30_000) as application:
                (tree / "f").write_text("not acknowledged")
                full_from = time.time_ns() // 1000

                def told() -> bool:
                    row = site.source(ADDRESS)
                    return row["healthy"] == "failing" or row["protected"] == "unprotected"

                site.wait(told, 120, "the status to say that nothing is taken")
                row = site.source(ADDRESS)
                assert parse_time(row["through_at"], 0) <= full_from, "what is not durable was acknowledged"
                site.wait(lambda: "No space left" in site.source(ADDRESS)["message"], 120, "the status to say why")
                time.sleep(1)
            assert not application.errors and not application.waited()
            assert site.run("cat", f"{ADDRESS}:{tree}/f", "--at", f"point:{before}").stdout == b"first"
            (disk / "of others").unlink()
            settled(site)
            same(site, tree, tmp_path / "out")
            assert site.run("cat", f"{ADDRESS}:{tree}/f", "--at", f"point:{before}").stdout == b"first"
            assert site.json("check", "--read-data")["errors"] == []
            assert site.json("points", ADDRESS)["gaps"] == [], "the spool held it all"


def test_no_room_for_the_journal_and_a_restart(tmp_path: Path) -> None:
    """Killed with a full disk: nothing half-committed is taken for a commit."""
    home = tmp_path / "home"
    with mounted("ext4", 48 << 20) as disk:
        home.mkdir()
        (home / "journal").symlink_to(disk)
        with Site(home) as site:
            tree = protected_tree(tmp_path, site)
            (tree / "large").write_bytes(os.urandom(3_000_000))
            before = settled(site)
            fill(disk / "of others")
            (tree / "large").write_bytes(os.urandom(6_000_000))
            time.sleep(1)
            site.kill("node")
            (disk / "of others").unlink()
            site.start_node()
            settled(site)
            same(site, tree, tmp_path / "out")
            assert site.json("check", "--read-data")["errors"] == []
            assert len(site.run("cat", f"{ADDRESS}:{tree}/large", "--at", f"point:{before}").stdout) == 3_000_000
