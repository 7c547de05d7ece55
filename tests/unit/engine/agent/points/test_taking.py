"""A crash point holds a state that there was at one moment, whatever was being written meanwhile."""

from __future__ import annotations

import mmap
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from conftest import Site, wait_for

from engine.agent.capture.look import Capture
from engine.agent.points import taking
from engine.agent.points.freeze import NOTE
from engine.agent.points.wanted import Wanted
from engine.drivers.files import Scope
from tests.mounts import mounted

FREEZE = Wanted(freeze=True)
PADDING = 256 << 10


@contextmanager
def protecting(site: Site, tree: Path, wanted: Wanted = FREEZE, **settings: Any) -> Iterator[None]:
    site.tree = tree
    tree.mkdir(exist_ok=True)
    site.start(scope=Scope([str(tree)]), watch="fanotify", crash_points=wanted, **settings)
    try:
        yield
    finally:
        site.stop()


@contextmanager
def in_order(tree: Path, *, sync: bool) -> Iterator[list[float]]:
    """A writer that counts: the number goes into `a`, then into `b`, then into a name. So b is never ahead of a.

    Between its writes lies work that makes each look take time. Gives the times at which rounds ended.
    """
    rounds: list[float] = [time.monotonic()]
    stop = threading.Event()
    number = 0

    def work() -> None:
        nonlocal number
        with (tree / "a").open("wb", buffering=0) as a, (tree / "b").open("wb", buffering=0) as b:
            while not stop.is_set():
                number += 1
                for file in (a, b):
                    os.pwrite(file.fileno(), b"%08d" % number, 0)
                    if sync:
                        os.fdatasync(file.fileno())
                os.pwrite(a.fileno(), os.urandom(PADDING), 8)
                rounds.append(time.monotonic())
                time.sleep(0.0005)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield rounds
    finally:
        stop.set()
        thread.join()


def counts(site: Site, lsn: int) -> tuple[int, int]:
    image = site.image(lsn)
    return int(image[b"/a"][-1][:8]), int(image[b"/b"][-1][:8])


def mark(site: Site, id: str, point_class: str = "") -> dict[str, str]:
    site.source.ask_mark(id, f"label-{id}", point_class)
    wait_for(lambda: id in site.source.view.marks_done)
    return site.source.view.marks_told[id]


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_every_crash_point_was_so_at_one_moment(site: Site, kind: str) -> None:
    with mounted(kind) as place, protecting(site, place / "tree"):
        with in_order(place / "tree", sync=False) as rounds:
            wait_for(lambda: b"/b" in site.image() and len(site.image()[b"/b"][-1]) >= 8)
            for number in range(8):
                assert mark(site, str(number), "crash") == {"class": "crash", "reason": ""}
                time.sleep(0.02)
            longest = max(after - before for before, after in pairwise(rounds))
        points = site.node.points()
        crash = [point for point in points if point.point_class == "crash"]
        assert len(crash) == 8
        for point in crash:
            a, b = counts(site, point.lsn)
            assert b <= a <= b + 1, point
        assert [each.label for each in site.node.marks_of("bookmark")] == [f"label-{number}" for number in range(8)]
        # Nothing else in this hammering was so well ordered that it was called more than fuzzy.
        others = {point.point_class for point in points if point.at > crash[0].at} - {"crash"}
        assert others <= {"fuzzy"}
        assert longest < 15
        assert site.source.view.crash_at == crash[-1].at
        assert site.source.view.crash_how == "freeze"
        assert 0 < site.source.view.crash_held_seconds < 5


def test_a_policy_that_allows_none(site: Site) -> None:
    with mounted("ext4") as place, protecting(site, place / "tree", Wanted()):
        (site.tree / "f").write_bytes(b"1")
        best = mark(site, "1")
        assert best["class"] in ("quiet", "fuzzy")
        assert "does not allow" in best["reason"]
        assert mark(site, "2", "crash")["class"] == ""
        assert [each.label for each in site.node.marks_of("bookmark")] == ["label-1"]
        assert "does not allow" in site.source.view.crash_message


def test_the_agents_own_file_system_is_never_frozen(site: Site) -> None:
    site.start(crash_points=FREEZE)
    told = mark(site, "1", "crash")
    assert told["class"] == ""
    assert "the agent itself writes to, is on the same file system" in told["reason"]


def test_crash_points_come_by_themselves(site: Site) -> None:
    with mounted("ext4") as place, protecting(site, place / "tree", Wanted(every_seconds=0.5, freeze=True)):
        wait_for(lambda: len([point for point in site.node.points() if point.point_class == "crash"]) >= 3)
        crash = [point.at for point in site.node.points() if point.point_class == "crash"]
        assert all(after - before >= 500_000 for before, after in pairwise(crash))
        site.settings.crash_points = Wanted(freeze=True)
        site.source.settings.crash_points = Wanted(freeze=True)  # a policy that changed
        wait_for(lambda: mark(site, "last"))
        count = len(site.node.points())
        time.sleep(0.8)
        assert len(site.node.points()) <= count + 1


def test_too_much_to_look_at(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes longer than the limit is looked at after all, and the point is what it is."""
    real, real_look = taking.Freeze, Capture.look

    def slow(self: Capture, *what: Any) -> None:
        if (site.settings.directory / NOTE).exists():
            time.sleep(0.5)
        real_look(self, *what)

    monkeypatch.setattr(taking, "Freeze", lambda *arguments: real(*arguments, limit_seconds=0.3))
    monkeypatch.setattr(Capture, "look", slow)
    with mounted("ext4") as place, protecting(site, place / "tree"):
        path = site.tree / "mapped"  # always to be looked at
        path.write_bytes(bytes(1 << 20))
        site.settle()
        with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
            mapped[5000] = 1
            told = mark(site, "1", "crash")
        assert told["class"] == ""
        assert "0.3 s" in told["reason"]
        site.settle()
        assert site.image()[b"/mapped"][-1][5000] == 1
        assert "crash" not in {point.point_class for point in site.node.points()}


def test_hooks(site: Site, tmp_path: Path) -> None:
    log = tmp_path / "log"

    def wanted(before: str, seconds: float = 60.0) -> Wanted:
        return Wanted(0.0, True, before, f"echo after >> {log}", seconds)

    with mounted("ext4") as place, protecting(site, place / "tree", wanted(f"echo before >> {log}")):
        (site.tree / "f").write_bytes(b"1")
        assert mark(site, "1", "crash")["class"] == "crash"
        assert log.read_text() == "before\nafter\n"
        site.source.settings.crash_points = wanted("echo no such database; exit 3")
        told = mark(site, "2", "crash")
        assert told == {"class": "", "reason": "the hook 'before' failed with exit code 3: no such database"}
        assert log.read_text() == "before\nafter\nafter\n"
        site.source.settings.crash_points = wanted("sleep 60 & sleep 60", 0.3)
        assert "was not done within 0.3 s" in mark(site, "3", "crash")["reason"]
        assert log.read_text() == "before\nafter\nafter\nafter\n"


def test_stores_through_a_mapping_are_in_it(site: Site) -> None:
    with mounted("ext4") as place, protecting(site, place / "tree"):
        path = site.tree / "mapped"
        path.write_bytes(bytes(1 << 20))
        site.settle()
        with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
            for number in range(1, 4):
                mapped[number * 100_000] = number
                assert mark(site, str(number), "crash")["class"] == "crash"
                assert site.image()[b"/mapped"][-1][number * 100_000] == number
