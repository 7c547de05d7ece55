"""A write that is under way is known, though its event comes only when it ends."""

from __future__ import annotations

import mmap
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import Site, wait_for
from stalled import stalled_write

from engine.agent.capture import walk
from engine.agent.points import under_way
from engine.agent.points.under_way import UnderWay
from engine.agent.watch.mounts import filesystem_type, mount_table
from engine.drivers.files import Scope
from tests.mounts import mounted

WHERE = (1, b"name")
BYTES = 4 << 20


@pytest.mark.parametrize("kind", ["ext4", "btrfs", "tmpfs"])
def test_who_writes_holds_the_file(kind: str) -> None:
    with mounted(kind) as place:
        (place / "file").write_bytes(bytes(BYTES))
        fd = os.open(place / "file", os.O_RDWR)
        tracker = UnderWay()
        with stalled_write(fd, b"x" * BYTES) as finish:
            for _ in range(2):
                status = os.fstat(fd)
                tracker.begin(status.st_ctime_ns)
                tracker.looked(WHERE, fd, status, status.st_ctime_ns)
                assert tracker.found() == {WHERE}
            finish()
            tracker.looked(WHERE, fd, status, status.st_ctime_ns)
            wait_for(lambda: not tracker.found())
        os.close(fd)


def test_nobody_writes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(BYTES))
    (tmp_path / "hole").touch()
    os.truncate(tmp_path / "hole", BYTES)
    tracker = UnderWay()
    for name in ("file", "hole"):
        fd = os.open(tmp_path / name, os.O_RDONLY)
        status = os.fstat(fd)
        tracker.begin(status.st_ctime_ns)
        before = len(os.listdir("/proc/self/fd"))
        for number in range(3 * under_way.HELD_MAX):
            tracker.looked((number, b""), fd, status, time.time_ns())
        assert tracker.found() == set()
        assert len(os.listdir("/proc/self/fd")) == before
        os.close(fd)


@pytest.mark.parametrize("waited", [False, True])
def test_a_change_since_the_last_drain_that_no_event_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waited: bool
) -> None:
    """Nor is a file asked whether it is held, where the look has waited for that already."""
    asked: list[object] = []
    pass_by = under_way._pass_by
    monkeypatch.setattr(under_way, "_pass_by", lambda *some: [asked.append(some), pass_by(*some)])
    path = tmp_path / "file"
    path.write_bytes(bytes(BYTES))
    fd = os.open(path, os.O_RDWR)
    status = os.fstat(fd)
    tracker = UnderWay()
    for drained_ns, found in ((status.st_ctime_ns - 1, {WHERE}), (status.st_ctime_ns, set())):
        tracker.begin(drained_ns)
        tracker.looked(WHERE, fd, status, status.st_ctime_ns, waited)
        assert tracker.found() == found
    tracker.begin(status.st_ctime_ns - 2)
    tracker.looked(WHERE, fd, status, status.st_ctime_ns - 1, waited)  # of a time to come: the clock was set back
    assert tracker.found() == set()
    assert len(asked) == (0 if waited else 2)
    os.close(fd)


def test_a_baseline_waits_where_the_file_system_locks_and_the_file_has_not_just_changed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    (site.tree / "old").write_bytes(bytes(BYTES))
    (site.tree / "young").write_bytes(bytes(BYTES))
    waited: dict[bytes, bool] = {}

    def looked(_: UnderWay, where: tuple[int, bytes], *rest: object) -> None:
        if len(rest) == 4:  # later looks say nothing of it
            waited[where[1]] = bool(rest[-1])

    monkeypatch.setattr(UnderWay, "looked", looked)
    monkeypatch.setattr(walk, "settled_ctime", lambda status, wall_ns: 1 if status.st_ino == old else -1)
    old = (site.tree / "old").stat().st_ino
    site.start()
    site.settle()
    locks = filesystem_type(os.fsencode(site.tree), mount_table()) in under_way.LOCKING
    assert (waited[b"old"], waited[b"young"]) == (locks, False)


def test_who_hangs_holds_up_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(BYTES))
    fd = os.open(path, os.O_RDONLY)
    status = os.fstat(fd)
    released = threading.Event()
    threads = threading.active_count()
    monkeypatch.setattr(under_way, "_pass_by", lambda *_: released.wait())
    tracker = UnderWay()
    began = time.monotonic()
    for _ in range(5):
        tracker.begin(status.st_ctime_ns)
        tracker.looked(WHERE, fd, status, status.st_ctime_ns)
        assert tracker.found() == {WHERE}
    assert time.monotonic() - began < 60
    assert threading.active_count() == threads + 1  # one waits for the file, however often it is asked for
    released.set()
    os.close(fd)


@contextmanager
def protecting(site: Site, place: Path) -> Iterator[Path]:
    """A tree on a mounted file system, while the source protects it."""
    site.tree = place / "tree"
    site.tree.mkdir()
    site.start(scope=Scope([str(site.tree)]), watch="fanotify")
    try:
        yield site.tree
    finally:
        site.stop()


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize(
    ("kind", "size"), [("ext4", 1 << 20), ("ext4", 8 << 20), ("xfs", 1 << 20), ("btrfs", 1 << 20), ("tmpfs", 8 << 20)]
)
def test_no_quiet_point_holds_half_of_a_write(site: Site, kind: str, size: int, before: bool) -> None:
    """The look is caused by another event of the file, which comes `before` the write begins, or after."""
    with mounted(kind) as place, protecting(site, place) as tree:
        path = tree / "big"
        path.write_bytes(b"a" * size)
        site.settle()
        first = len(site.node.points())
        with path.open("r+b", buffering=0) as file:
            if before:
                os.setxattr(path, "user.a", b"1")
            with stalled_write(file.fileno(), b"b" * size) as finish:
                if not before:
                    os.close(os.open(path, os.O_WRONLY))  # takes no lock of the file
                time.sleep(0.25)  # many passes long
                finish()
        wait_for(lambda: site.image()[b"/big"][-1] == b"b" * size and site.node.points()[-1].point_class == "quiet")
        for point in site.node.points()[first:]:
            torn = len(set(site.image(point.lsn)[b"/big"][-1])) > 1
            assert not (torn and point.point_class == "quiet"), site.node.points()[first:]


def test_quiet_comes_back_after_a_store_through_a_mapping(site: Site) -> None:
    """It raises no event, but it must not keep a source from ever being quiet."""
    path = site.tree / "mapped"
    path.write_bytes(bytes(BYTES))
    site.start()
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[0] = 1
        os.utime(path)
        wait_for(lambda: site.image()[b"/mapped"][-1][0] == 1 and site.node.points()[-1].point_class == "quiet")
