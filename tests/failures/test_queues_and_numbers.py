"""What the kernel may do to an agent: an event queue that overflows, inode numbers used again, clocks that step."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from engine.model.points import QUIET
from tests.failures.host import CLOCKS_APART, Host, a_host, site_now
from tests.mounts import mounted

QUEUE_EVENTS = int(Path("/proc/sys/fs/fanotify/max_queued_events").read_text())
HOUR = 3600 * 1_000_000
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="fanotify's marks need root")


@as_root
@pytest.mark.skipif(QUEUE_EVENTS > 100_000, reason="this machine's limit of queued events is too high to reach")
def test_a_queue_that_overflows_is_a_gap_that_closes(tmp_path: Path) -> None:
    with a_host(tmp_path) as host:
        (host.tree / "d").mkdir()
        host.start(limits={"bounded_queue": True})
        host.settle()
        assert host.protected()["mechanism"] == "fanotify", "only that is bounded here"
        host.stand_still()  # else it might read on for a while, and the queue hold all of it
        began = site_now()
        names = [str(host.tree / "d" / f"{number}") for number in range(QUEUE_EVENTS + 500)]
        for name in names:
            os.close(os.open(name, os.O_CREAT | os.O_WRONLY))
            os.unlink(name)
        (host.tree / "d" / "last").write_text("after the queue was full")
        (host.tree / "e").mkdir()
        (host.tree / "e" / "f").write_text("in a directory that no event told of")
        host.wait_for_clocks(began)
        changed_at = site_now()
        host.living.send_signal(signal.SIGCONT)
        host.settle()
        host.wait(host.gaps, "the gap")
        (gap,) = host.gaps()
        assert gap.label == "event queue overflow"
        assert gap.gap_from <= began + CLOCKS_APART and changed_at - CLOCKS_APART <= gap.at
        host.protected()
        (host.tree / "e" / "f").write_text("and is watched since")
        host.settle()
        host.check()
        assert host.gaps() == [gap]


@as_root
def test_a_queue_without_a_limit_holds_what_happens_while_the_agent_stands_still(tmp_path: Path) -> None:
    with a_host(tmp_path) as host:
        host.start()
        host.settle()
        host.stand_still()
        for number in range(QUEUE_EVENTS + 500):  # as many as overflow one with a limit
            name = host.tree / f"{number % 100}-{number}"
            name.touch()
            name.unlink()
        (host.tree / "last").write_text("1")
        host.living.send_signal(signal.SIGCONT)
        host.settle()
        assert not host.gaps()


@pytest.mark.parametrize("away", [False, True], ids=["seen", "agent away"])
@pytest.mark.parametrize("kind", ["ext4", "tmpfs"])
def test_inode_numbers_that_are_used_again(tmp_path: Path, kind: str, away: bool) -> None:
    with mounted(kind, 40 << 20) as tree, a_host(tmp_path / "host", tree=tree) as host:
        again = Reuse(tree)
        again.before()
        host.start()
        host.settle()
        if away:
            host.end()
        reused = again.after()
        if kind == "ext4":
            assert reused, "this file system gave no number twice: nothing was tested"
        if away:
            host.start()
        host.settle()
        again.once_more()
        host.settle()
        host.check()


class Reuse:
    """Names whose inodes go, and others that come with the same numbers, sizes and times."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree
        self.numbers: dict[str, int] = {}

    def before(self) -> None:
        for name in ("file", "renamed", "linked", "becomes-directory", "becomes-link", "becomes-file"):
            self.make(name)
        os.link(self.tree / "linked", self.tree / "linked too")
        (self.tree / "directory").mkdir()
        for name in "abc":
            self.make(f"directory/{name}")

    def make(self, name: str, text: str = "before") -> None:
        path = self.tree / name
        path.write_text(text)
        os.utime(path, ns=(10**18, 10**18))
        self.numbers.setdefault(name, path.stat().st_ino)

    def after(self) -> bool:
        """Whether any number was used again."""
        tree = self.tree
        old = set(self.numbers.values())
        found = set()
        for name in ("file", "becomes-file"):
            (tree / name).unlink()
            (tree / name).write_text("after!")  # as long as before
            os.utime(tree / name, ns=(10**18, 10**18))
            found.add((tree / name).stat().st_ino)
        (tree / "renamed").unlink()
        (tree / "other name").write_text("after!")
        os.utime(tree / "other name", ns=(10**18, 10**18))
        (tree / "becomes-directory").unlink()
        (tree / "becomes-directory").mkdir()
        (tree / "becomes-directory" / "f").write_text("in it")
        (tree / "becomes-link").unlink()
        (tree / "becomes-link").symlink_to("file")
        # Two names of one inode go; two inodes come, of which one has its number, and other links are made.
        (tree / "linked").unlink()
        (tree / "linked too").unlink()
        (tree / "linked").write_text("after!")
        (tree / "linked too").write_text("apart.")
        os.link(tree / "linked", tree / "linked now")
        found.update((tree / name).lstat().st_ino for name in ("becomes-directory", "becomes-link", "linked"))
        for name in "abc":
            (tree / "directory" / name).unlink()
        (tree / "directory").rmdir()
        (tree / "directory").mkdir()
        for name in "bcd":
            (tree / "directory" / name).write_text("anew..")
        found.add((tree / "directory").stat().st_ino)
        return bool(found & old)

    def once_more(self) -> None:
        """A directory becomes a file, at once after a file became a directory."""
        tree = self.tree
        (tree / "becomes-directory" / "f").unlink()
        (tree / "becomes-directory").rmdir()
        (tree / "becomes-directory").write_text("a file again")
        (tree / "file").unlink()
        (tree / "file").mkdir()
        (tree / "file" / "linked").hardlink_to(tree / "linked")


def test_the_wall_clock_steps_an_hour_both_ways(tmp_path: Path) -> None:
    offset = tmp_path / "offset"
    step_clock(offset, "0")
    with a_host(tmp_path / "host") as host:
        host.start(limits={"wall_offset": str(offset)})
        host.settle()
        host.protected()
        for number, step in enumerate(("3600", "0", "-3600", "0")):
            step_clock(offset, step)
            for change in range(8):
                (host.tree / f"f{change % 3}").write_text(f"{number} {change}")
                (host.tree / f"only{number}-{change}").touch()
                time.sleep(0.02)
            point = host.settle()
            assert abs(point.at - site_now()) < 60_000_000, "a point bears a time of the host's wall clock"
            expected = int(step) * 1_000_000
            host.wait(lambda expected=expected: abs(skew(host) - expected) < 60_000_000, "the skew to be reported")
        # A restart while the clock is wrong: nothing goes back, nothing is lost.
        step_clock(offset, "-3600")
        host.kill()
        host.start(limits={"wall_offset": str(offset)})
        (host.tree / "after").write_text("1")
        point = host.settle()
        assert abs(point.at - site_now()) < 60_000_000
        host.check()


def test_the_clock_of_the_site_steps_an_hour_both_ways(tmp_path: Path) -> None:
    """That of the node, or of a machine that is a site of its own: followed; no time goes back, nothing is lost."""
    with a_host(tmp_path) as host:
        host.start()
        host.settle()
        host.protected()
        for number, ahead in enumerate((HOUR, 0, -HOUR, 0)):
            host.node.ahead = ahead
            for change in range(8):
                (host.tree / f"f{change % 3}").write_text(f"{number} {change}")
                (host.tree / f"only{number}-{change}").touch()
                time.sleep(0.02)
            host.settle()
            host.wait(lambda ahead=ahead: abs(skew(host) + ahead) < 60_000_000, "the site's time to be followed")
            (host.tree / "after").write_text(f"{number}")
            point = host.settle()
            host.protected()
            assert point.at >= site_now() + ahead - 60_000_000
        host.check()
        assert not host.gaps()
        # Whose site time stands still until the hour is over tells a quiet moment from another all the same.
        host.wait(lambda: host.node.points()[-1].point_class == QUIET, "a quiet point")


def step_clock(offset: Path, seconds: str) -> None:
    """At once, as a clock is set: the agent reads it all the time."""
    new = offset.with_suffix(".new")
    new.write_text(seconds)
    new.rename(offset)


def skew(host: Host) -> int:
    statuses = host.node.statuses
    return int(statuses[-1]["clock_skew"]) if statuses else 0
