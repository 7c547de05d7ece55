"""An agent that dies at any step, in the baseline or later, goes on by itself and loses nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import wait_for
from disk import differences, disk_image
from fake_node import FakeNode
from node_server import served
from random_changes import Changes

from engine.model.events import Dentry, Inode
from engine.wire.batch import Batch

ROOT = Path(__file__).parents[4]
PLACES = ["spool-appended", "record-committed", "sent"]


class Host:
    """A home, a tree, a node, and agents that are real processes."""

    def __init__(self, base: Path) -> None:
        self.home, self.tree = base / "home", base / "tree"
        self.outside = base / "outside"
        self.home.mkdir()
        self.tree.mkdir()
        self.socket = base / "s"
        self.node = FakeNode(
            sources=[{"stream": "5eed", "address": "g/h/s", "kind": "files", "paths": [str(self.tree)]}]
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, crash_at: str = "", **environment: str) -> None:
        argv = [sys.executable, "-m", "engine.agent", "agent", "--home", str(self.home), "--socket", str(self.socket)]
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "BCS_HOME": str(self.home), "PYTHONPATH": path, **environment}
        self.process = subprocess.Popen(argv, env={**environment, "BCS_CRASH_AT": crash_at})

    def ended(self, seconds: float = 120.0) -> int:
        assert self.process is not None
        return self.process.wait(seconds)

    def settle(self, seconds: float = 120.0) -> None:
        """Wait until the newest point equals the disk."""
        end = time.monotonic() + seconds
        while found := differences(self.image(), disk_image(os.fsencode(self.tree))):
            if time.monotonic() > end:
                raise AssertionError(f"{self.node.statuses[-1:]} {found[:8]}")
            time.sleep(0.03)

    def image(self) -> dict[bytes, tuple[object, ...]]:
        lsn = ([0, *(point.lsn for point in self.node.points())])[-1]
        return self.node.image(os.fsencode(self.tree), lsn)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(120)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path)
    with served(made.node, made.socket):
        yield made
        made.stop()


@pytest.mark.parametrize("times", [1, 2, 5])
@pytest.mark.parametrize("place", PLACES)
def test_a_crash_in_the_life_of_an_agent(host: Host, place: str, times: int) -> None:
    changes = Changes(host.tree, host.outside, times)
    for _ in range(40):
        changes.step()
    host.start(f"{place}:{times}")
    while host.process.poll() is None:
        changes.step()
        time.sleep(0.03)
    assert host.process.poll() == 137
    for _ in range(20):
        changes.step()
    time.sleep(0.02)
    host.start()
    host.settle()
    assert len(host.node.opened) == 2
    assert host.node.head.epoch == 1
    changes.step()
    host.settle()


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("place", ["record-committed", "sent"])
def test_a_crash_in_a_baseline_of_several_batches(host: Host, place: str, times: int) -> None:
    for number in range(20):
        path = host.tree / f"d{number}"
        path.mkdir()
        for name in "abc":
            (path / name).write_bytes(os.urandom(700_000))
    (host.tree / "large").write_bytes(os.urandom(20_000_000))
    time.sleep(0.02)
    host.start(f"{place}:{times}")
    assert host.ended() == 137
    # What the lost agent had captured changes, vanishes and moves.
    for number in range(0, 20, 3):
        (host.tree / f"d{number}" / "a").unlink()
        (host.tree / f"d{number}" / "b").write_bytes(b"changed")
        (host.tree / f"d{number}" / "c").rename(host.tree / f"c{number}")
        (host.tree / f"d{number}").rename(host.tree / f"renamed{number}")
    os.truncate(host.tree / "large", 5_000_000)
    time.sleep(0.02)
    host.start()
    host.settle()
    assert host.node.head.epoch == 1
    assert host.node.raw_bytes < 75_000_000, "what the node had was sent again"
    os.truncate(host.tree / "large", 21_000_000)
    host.settle()


def test_kill_9_in_a_baseline_of_many_files_sends_nothing_again(host: Host) -> None:
    count = 24_000  # several batches more than are in flight when the last of them is killed
    for number in range(count):
        directory = host.tree / f"d{number // 100:03d}"
        if not number % 100:
            directory.mkdir()
        (directory / f"f{number:05d}").write_bytes(b"%d" % number)
    time.sleep(0.02)
    kills = [1, 2]

    def killed_after(batch: Batch) -> None:
        if kills and len(host.node.sent_hashes) == kills[0] and host.process is not None:
            kills.pop(0)
            host.process.send_signal(signal.SIGKILL)  # before it hears that the node has this batch

    host.node.on_batch = killed_after
    for _ in range(2):
        host.start()
        assert host.ended() == -signal.SIGKILL
        assert not host.node.marks_of("baseline"), "a baseline that was cut off has no point"
    host.start()
    host.settle()
    described = [each.file_id for each in host.node.events if isinstance(each, Inode) and each.type == "f"]
    assert len(described) == len(set(described)) == count
    named = [each for each in host.node.events if isinstance(each, Dentry) and each.name.startswith(b"f")]
    assert len(named) == count
    assert len(host.node.marks_of("baseline")) == 1
    assert host.node.head.epoch == 1


def test_kill_9_while_changes_go_on_leaves_a_gap(host: Host) -> None:
    host.start()
    wait_for(lambda: host.node.marks_of("baseline"))
    for number in range(20):
        (host.tree / f"f{number % 5}").write_bytes(b"%d" % number)
        time.sleep(0.01)
    assert host.process is not None
    host.process.send_signal(signal.SIGKILL)
    host.ended()
    killed_at = time.time_ns() // 1000
    (host.tree / "f9").write_bytes(b"while it was dead")
    host.start()
    host.settle()
    (gap,) = host.node.marks_of("gap")
    assert gap.label == "agent was killed"
    assert gap.gap_from < killed_at < gap.at


def test_a_mark_is_not_taken_again_by_the_next_agent(host: Host) -> None:
    host.start()
    wait_for(lambda: host.node.marks_of("baseline"))
    host.node.change(marks=[{"id": "m1", "stream": "5eed", "label": "before"}])
    wait_for(lambda: not host.node.marks)
    assert host.process is not None
    host.process.terminate()
    host.ended()
    (host.tree / "f").write_bytes(b"after")
    host.start()
    host.settle()
    host.node.change(marks=[{"id": "m2", "stream": "5eed", "label": "after"}])
    wait_for(lambda: not host.node.marks)
    assert [mark.label for mark in host.node.marks_of("bookmark")] == ["before", "after"]


def test_sigterm_ends_it_in_good_order(host: Host) -> None:
    host.start()
    wait_for(lambda: host.node.marks_of("baseline"))
    pid_path = host.home / "run" / "agent.pid"
    assert host.process is not None and int(pid_path.read_text()) == host.process.pid
    (host.tree / "f").write_bytes(b"just before the end")
    began = time.monotonic()
    host.process.terminate()
    assert host.ended() == 0
    assert time.monotonic() - began < 60
    assert not pid_path.exists()
    host.settle(0.1)


def test_the_node_comes_and_goes(host: Host) -> None:
    changes = Changes(host.tree, host.outside, 7)
    host.start()
    wait_for(lambda: host.node.marks_of("baseline"))
    host.node.away = True
    for _ in range(30):
        changes.step()
        time.sleep(0.01)
    assert host.process is not None
    host.process.kill()
    host.ended()
    for _ in range(10):
        changes.step()
    time.sleep(0.02)
    host.start()  # with the node away: it knows what to protect, and spools
    time.sleep(1.5)
    for _ in range(10):
        changes.step()
        time.sleep(0.01)
    host.node.lose_answers = 2
    host.node.away = False
    host.settle()
    assert host.node.head.epoch == 1
