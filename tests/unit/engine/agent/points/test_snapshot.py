"""Crash points from snapshots of btrfs subvolumes: nobody waits, and nothing stays behind."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import Site, wait_for

from engine.agent.kept import record
from engine.agent.points import btrfs
from engine.agent.points.hold import NotHeld
from engine.agent.points.snapshot import NOTE, Snapshot, delete_what_was_left
from engine.agent.points.wanted import Wanted
from engine.drivers.files import Scope
from tests.mounts import mounted, volume


def subvolume(path: Path) -> Path:
    subprocess.run(["btrfs", "-q", "subvolume", "create", path], check=True, capture_output=True)
    return path


def subvolumes(place: Path) -> list[str]:
    told = subprocess.run(["btrfs", "subvolume", "list", place], check=True, capture_output=True, text=True).stdout
    return [line.split()[-1] for line in told.splitlines()]


@contextmanager
def protecting(site: Site, tree: Path, wanted: Wanted | None = None) -> Iterator[None]:
    site.tree = tree
    tree.mkdir(exist_ok=True)
    site.start(scope=Scope([str(tree)]), crash_points=wanted or Wanted())
    try:
        yield
    finally:
        site.stop()


@contextmanager
def in_order(tree: Path) -> Iterator[None]:
    """A number goes into `a`, and when that is on disk into `b`; files and directories come and go beside them."""
    stop = threading.Event()

    def work() -> None:
        number = 0
        with (tree / "a").open("wb", buffering=0) as a, (tree / "b").open("wb", buffering=0) as b:
            while not stop.is_set():
                number += 1
                for file in (a, b):
                    os.pwrite(file.fileno(), b"%08d" % number, 0)
                    os.fsync(file.fileno())
                folder = tree / f"d{number}"
                folder.mkdir()
                (folder / "f").write_bytes(b"%d" % number)
                if number > 5:
                    (tree / f"d{number - 5}" / "f").rename(tree / f"moved{number}")
                    (tree / f"d{number - 5}").rmdir()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def mark(site: Site, id: str) -> dict[str, str]:
    site.source.ask_mark(id, f"label-{id}", "crash")
    wait_for(lambda: id in site.source.view.marks_done)
    return site.source.view.marks_told[id]


@pytest.mark.parametrize("top", ["", "@"])
def test_every_crash_point_was_so_at_one_moment(site: Site, top: str) -> None:
    """`@`: as distributions do it, only a subvolume is mounted."""
    with volume("btrfs") as made:
        made.mount()
        if top:
            subvolume(made.path / top)
            made.unmount()
            made.mount(f"subvol={top}")
        with protecting(site, made.path / "tree"):
            with in_order(site.tree):
                wait_for(lambda: len(site.image().get(b"/b", (b"",))[-1]) >= 8)
                for number in range(6):
                    assert mark(site, str(number)) == {"class": "crash", "reason": ""}
            crash = [point for point in site.node.points() if point.point_class == "crash"]
            assert len(crash) == 6
            for point in crash:
                image = site.image(point.lsn)
                a, b = int(image[b"/a"][-1]), int(image[b"/b"][-1])
                assert b <= a <= b + 1
                for path, row in image.items():
                    if path.startswith(b"/d") and path.endswith(b"/f"):
                        assert int(row[-1] or path[2:-2]) == int(path[2:-2])
            site.settle()
            assert site.source.view.crash_how == "snapshot"
            (site.tree / "after").mkdir()  # what was seen in snapshots first is watched
            (site.tree / "after" / "that").write_bytes(b"1")
            site.settle()
        assert not [name for name in subvolumes(made.path) if "bcs" in name]
        assert not (site.settings.directory / NOTE).exists()
        assert record._seen_as == {}


def test_what_appeared_in_a_snapshot_is_watched_afterwards(site: Site) -> None:
    with mounted("btrfs") as place, protecting(site, place / "tree"):
        for number in range(5):
            below = site.tree / f"{number}" / "below"
            below.mkdir(parents=True)
            (below / "f").write_bytes(b"1")
            os.link(below / "f", place / f"link{number}")
            assert mark(site, str(number))["class"] == "crash"
            (below / "g").write_bytes(b"2")
            (place / f"link{number}").write_bytes(b"through a name outside")
            site.settle()


def test_other_subvolumes_inside(site: Site) -> None:
    with mounted("btrfs") as place:
        (place / "tree").mkdir()
        subvolume(place / "tree" / "inner")
        with protecting(site, place / "tree"):
            told = mark(site, "1")
            assert told["class"] == ""
            assert "other subvolumes lie in" in told["reason"]
            assert "does not allow to freeze" in told["reason"]
            site.source.settings.crash_points = Wanted(freeze=True)
            assert mark(site, "2") == {"class": "crash", "reason": ""}
            assert site.source.view.crash_how == "freeze"


def test_one_that_was_left(tmp_path: Path) -> None:
    with mounted("btrfs") as place:
        (place / "tree").mkdir()
        killed = Snapshot([bytes(place / "tree")], tmp_path, "5eed")
        killed.prepare()
        killed.begin()
        os.close(killed._top)  # its mount goes with its process
        assert subvolumes(place) == [".bcs-point-5eed"]
        delete_what_was_left(tmp_path)
        assert subvolumes(place) == []
        delete_what_was_left(tmp_path)


def test_no_leave_to_mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(device: bytes) -> int:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(btrfs, "mount_top", refuse)
    with mounted("btrfs") as place, pytest.raises(NotHeld, match="does the agent's service allow it to mount"):
        Snapshot([bytes(place)], tmp_path, "5eed").prepare()


def test_a_file_system_that_is_read_only(tmp_path: Path) -> None:
    with volume("btrfs") as made:
        made.mount("ro")
        with pytest.raises(NotHeld, match="read only"):
            Snapshot([bytes(made.path)], tmp_path, "5eed")
