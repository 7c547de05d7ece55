"""What happens on disk arrives at the node, and nothing is sent that need not be."""

from __future__ import annotations

import json
import os
import threading
import time

import pytest
from conftest import Site, wait_for

from engine.model.events import Dentry, Extent, Inode, Record, is_point

MECHANISMS = ["inotify", pytest.param("fanotify", marks=pytest.mark.skipif(os.geteuid() != 0, reason="needs root"))]


@pytest.fixture(params=MECHANISMS)
def watched(request: pytest.FixtureRequest, site: Site) -> Site:
    site.settings.watch = request.param
    return site


def test_a_baseline_is_a_point_that_equals_the_disk(watched: Site) -> None:
    tree = watched.tree
    (tree / "a").mkdir(mode=0o750)
    (tree / "a" / "file").write_bytes(b"content")
    (tree / "a" / "empty").touch()
    os.link(tree / "a" / "file", tree / "link")
    os.symlink("a/file", tree / "symlink")
    os.mkfifo(tree / "fifo")
    os.setxattr(tree / "a" / "file", "user.note", b"x\0y")
    (tree / os.fsdecode(b"not \xff utf-8")).write_bytes(b"1")
    (tree / "large").write_bytes(os.urandom(9_000_000))
    with open(tree / "sparse", "wb") as file:
        file.seek(40 << 20)
        file.write(b"end")
        file.truncate(50 << 20)
    watched.start()
    watched.settle()
    assert watched.node.raw_bytes < 10_000_000
    assert [mark.point_class for mark in watched.node.marks_of("baseline")] in (["quiet"], ["fuzzy"])


def test_changes_follow_within_a_second(watched: Site) -> None:
    watched.start()
    tree = watched.tree
    (tree / "new").write_bytes(b"1")
    watched.settle()
    (tree / "d" / "e" / "f").mkdir(parents=True)
    (tree / "d" / "e" / "f" / "g").write_bytes(b"2" * 100_000)
    watched.settle()
    os.chmod(tree / "new", 0o600)
    os.utime(tree / "new", ns=(1, 2))
    os.setxattr(tree / "new", "user.a", b"b")
    watched.settle()
    os.unlink(tree / "new")
    os.symlink("nowhere", tree / "new")
    watched.settle()
    with open(tree / "d" / "e" / "f" / "g", "r+b") as file:
        file.truncate(10)
    watched.settle()
    with open(tree / "d" / "e" / "f" / "g", "r+b") as file:
        file.truncate(50_000)
    watched.settle()
    os.rename(tree / "d" / "e", tree / "moved")
    (tree / "moved" / "f" / "h").write_bytes(b"in a moved directory")
    watched.settle()
    began = time.monotonic()
    (tree / "moved" / "f" / "h").write_bytes(b"again")
    watched.settle()
    assert time.monotonic() - began < 60


def test_a_rename_sends_no_data(watched: Site) -> None:
    (watched.tree / "d").mkdir()
    (watched.tree / "d" / "file").write_bytes(os.urandom(300_000))
    watched.start()
    before = len(watched.node.events)
    os.rename(watched.tree / "d", watched.tree / "elsewhere")
    watched.settle()
    os.rename(watched.tree / "elsewhere" / "file", watched.tree / "up")
    watched.settle()
    sent = watched.node.events[before:]
    assert not [event for event in sent if isinstance(event, Extent)]
    assert len([event for event in sent if isinstance(event, Dentry)]) == 4


def test_only_changed_blocks_are_sent(watched: Site) -> None:
    path = watched.tree / "pages"
    path.write_bytes(os.urandom(10 << 20))
    watched.start()
    before = len(watched.node.events)
    with open(path, "r+b") as file:
        for at in (0, 100_000, 5 << 20, (10 << 20) - 5):
            file.seek(at)
            file.write(b"new!!")
        file.seek(11 << 20)
        file.write(b"grown")
    watched.settle()
    extents = [event for event in watched.node.events[before:] if isinstance(event, Extent) and event.data]
    assert sum(extent.length for extent in extents) < 100_000


def test_a_shrunk_file_that_grows_again_shows_no_old_bytes(watched: Site) -> None:
    path = watched.tree / "file"
    path.write_bytes(b"x" * 6_000_000)
    watched.start()
    for size in (5_000_001, 100, 8192, 0):
        os.truncate(path, size)
        watched.settle()
        os.truncate(path, 7_000_000)
        watched.settle()


def test_a_write_through_a_link_outside_is_seen(watched: Site) -> None:
    inside, outside = watched.tree / "in", watched.base / "out"
    inside.write_bytes(b"1")
    os.link(inside, outside)
    watched.start()
    outside.write_bytes(b"2")
    watched.settle()


def test_a_directory_moved_out_and_in(watched: Site) -> None:
    (watched.tree / "d" / "e").mkdir(parents=True)
    (watched.tree / "d" / "e" / "f").write_bytes(b"1")
    watched.start()
    os.rename(watched.tree / "d", watched.base / "away")
    watched.settle()
    (watched.base / "away" / "e" / "f").write_bytes(b"changed outside")
    (watched.base / "away" / "e" / "g").write_bytes(b"new outside")
    time.sleep(1.2)
    os.rename(watched.base / "away", watched.tree / "back")
    watched.settle()
    (watched.tree / "back" / "e" / "f").write_bytes(b"watched again")
    watched.settle()


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_told_and_does_not_look_empty(site: Site) -> None:
    path = site.tree / "secret"
    path.write_bytes(b"1")
    path.chmod(0)
    site.start()
    assert b"/secret" not in site.image()
    told = [json.loads(event.payload) for event in site.node.events if isinstance(event, Record)]
    assert told[0]["path"].endswith("secret")
    wait_for(lambda: site.source.report()["unreadable"] == 1)
    closed = {"path": told[0]["path"], "reason": "Permission denied"}
    assert site.source.report()["unreadable_paths"] == [closed]
    path.chmod(0o600)
    wait_for(lambda: b"/secret" in site.image() and site.source.report()["unreadable_paths"] == [])


def test_excluded_names_come_and_go_by_rename(site: Site) -> None:
    from engine.drivers.files import Scope

    site.settings.scope = Scope([str(site.tree)], ["*.tmp"])
    (site.tree / "a.tmp").write_bytes(b"1")
    (site.tree / "b").write_bytes(b"2")
    site.start()
    assert set(site.image()) == {b".", b"/b"}
    os.rename(site.tree / "a.tmp", site.tree / "a")
    wait_for(lambda: b"/a" in site.image())
    os.rename(site.tree / "b", site.tree / "b.tmp")
    wait_for(lambda: b"/b" not in site.image())


def test_an_idle_source_sends_nothing_and_is_complete_up_to_now(site: Site) -> None:
    (site.tree / "f").write_bytes(b"1")
    site.start()
    time.sleep(0.3)
    before = len(site.node.events)
    through = site.source.view.through_at
    wait_for(lambda: site.source.view.through_at > through + 1_000_000)
    assert len(site.node.events) == before


def test_latency_at_100_changes_a_second(site: Site) -> None:
    site.start()
    written: list[tuple[bytes, int]] = []
    for number in range(100):
        name = b"file%d" % (number % 20)
        (site.tree / os.fsdecode(name)).write_bytes(b"%d" % number * 50)
        written.append((name, time.time_ns() // 1000))
        time.sleep(0.01)
    site.settle()
    committed = sorted(site.node.committed_at.items())
    inodes = [event for event in site.node.events if isinstance(event, Inode) and event.type == "f"]
    delays = []
    for _, at in written:
        after = [c for lsn, c in committed if c >= at]
        delays.append((after[0] - at) / 1000)
    assert inodes
    assert sorted(delays)[len(delays) // 2] < 1000, "how fast it is, `make bench` measures"


def test_what_strangers_do_beside_it_does_not_disturb(watched: Site) -> None:
    """A neighbour in the parent directory, and files without names on the same file system."""
    watched.start()
    stop = threading.Event()

    def disturb() -> None:
        while not stop.wait(0.002):
            (watched.base / "beside").write_bytes(b"x")
            fd = os.open(watched.base, os.O_TMPFILE | os.O_WRONLY)
            os.write(fd, b"x")
            os.close(fd)

    stranger = threading.Thread(target=disturb)
    stranger.start()
    try:
        before = len(watched.node.events)
        time.sleep(0.3)
        (watched.tree / "f").write_bytes(b"1")
        watched.settle()
        wait_for(lambda: watched.node.points()[-1].point_class == "quiet")
        assert len([mark for mark in watched.node.events[before:] if is_point(mark)]) <= 3
    finally:
        stop.set()
        stranger.join()
