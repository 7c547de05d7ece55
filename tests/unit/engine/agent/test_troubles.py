"""What a source does when something is wrong: with the disk, the record, the spool, the node, or the policy."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import Site, wait_for
from disk import differences, disk_image
from random_changes import Changes

from engine.agent import live
from engine.agent.capture import hints
from engine.agent.capture import look as capture
from engine.agent.capture import walk as baseline
from engine.agent.kept.record import Record as AgentRecord
from engine.agent.source import Source
from engine.agent.watch.base import Drained
from engine.agent.watch.inotify import InotifyWatcher
from engine.drivers.files import Scope
from engine.model.events import Record
from engine.model.points import QUIET

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def told(site: Site) -> list[dict[str, Any]]:
    events = list(site.node.events)
    return [json.loads(event.payload) for event in events if isinstance(event, Record) and event.topic == "unreadable"]


def test_an_unreadable_file_is_told_and_keeps_what_was_captured(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    (site.tree / "known").write_bytes(b"first")
    (site.tree / "readable").write_bytes(b"1")
    site.start()
    real_open, locked = os.open, {b"known", b"never"}

    def refusing(path: Any, *args: Any, **kwargs: Any) -> int:
        if path in locked:
            raise OSError(errno.EACCES, "Permission denied", path)
        return real_open(path, *args, **kwargs)

    monkeypatch.setattr(capture.os, "open", refusing)
    (site.tree / "known").write_bytes(b"second, unread")
    (site.tree / "never").write_bytes(b"secret")
    (site.tree / "readable").write_bytes(b"2")
    wait_for(lambda: len(told(site)) == 2)
    wait_for(lambda: site.source.report()["unreadable"] == 2)
    wait_for(lambda: site.image().get(b"/readable", b"")[-1:] == (b"2",))
    assert site.image()[b"/known"][-1] == b"first"
    assert b"/never" not in site.image()
    assert {(each["errno"], Path(each["path"]).name) for each in told(site)} == {(13, "known"), (13, "never")}
    locked.clear()
    (site.tree / "known").touch()
    (site.tree / "never").touch()
    site.settle()
    wait_for(lambda: site.source.report()["unreadable"] == 0)


def test_a_mark_is_a_named_point(site: Site) -> None:
    (site.tree / "f").write_bytes(b"1")
    source = site.start()
    source.ask_mark("m1", "before the upgrade")
    wait_for(lambda: source.view.marks_done == ["m1"])
    (bookmark,) = site.node.marks_of("bookmark")
    point = site.node.points()[-1]
    assert bookmark.label == "before the upgrade"
    assert (bookmark.lsn, bookmark.at) == (point.lsn + 1, point.at)
    assert point.point_class == QUIET
    source.forget_marks(["m1"])
    source.ask_mark("m1", "before the upgrade")
    source.ask_mark("m2", "after it")
    wait_for(lambda: "m2" in source.view.marks_done)
    assert [mark.label for mark in site.node.marks_of("bookmark")] == ["before the upgrade", "after it"]


def test_a_path_that_does_not_exist_yet(site: Site) -> None:
    path = site.base / "later" / "deep"
    site.start(scope=Scope([str(site.tree), str(path)]))
    path.mkdir(parents=True)
    (path / "f").write_bytes(b"1")

    def there() -> bool:
        point = site.node.points()[-1]
        return not differences(site.node.image(os.fsencode(path), point.lsn), disk_image(os.fsencode(path)))

    wait_for(there)
    (path / "f").write_bytes(b"2")
    wait_for(there)
    os.rename(path, site.base / "gone")
    wait_for(lambda: not site.node.image(os.fsencode(path), site.node.points()[-1].lsn))


def test_a_single_file_that_editors_replace(site: Site) -> None:
    path = site.base / "config"
    path.write_bytes(b"1")
    (site.base / "other").write_bytes(b"not protected")
    site.start(scope=Scope([str(path)]))
    base = os.fsencode(site.base)
    assert {name for name in site.node.image(base) if name != b"."} == {b"/config"}
    for number in range(3):
        (site.base / "config~").write_bytes(b"new %d" % number)
        os.rename(site.base / "config~", path)
        wait_for(lambda: site.node.image(base)[b"/config"][-1] == path.read_bytes(), 120)
    assert {name for name in site.node.image(base) if name != b"."} == {b"/config"}


def test_a_link_on_the_way_is_followed(site: Site) -> None:
    (site.base / "link").symlink_to(site.tree)
    path = site.base / "link"
    (site.tree / "f").write_bytes(b"1")
    site.start(scope=Scope([str(path)]))
    assert site.node.image(os.fsencode(path))[b"/f"][-1] == b"1"
    (site.tree / "f").write_bytes(b"2")
    wait_for(lambda: site.node.image(os.fsencode(path))[b"/f"][-1] == b"2")


def test_another_policy_takes_out_and_brings_in(site: Site) -> None:
    for name in ("a.tmp", "b.log"):
        (site.tree / name).write_bytes(b"1")
    site.start(scope=Scope([str(site.tree)], ["*.tmp"]))
    assert set(site.image()) == {b".", b"/b.log"}
    site.source.stop()
    site.start(scope=Scope([str(site.tree)], ["*.log"]))
    wait_for(lambda: set(site.image()) == {b".", b"/a.tmp"})


def test_a_damaged_record_is_set_aside(site: Site) -> None:
    (site.tree / "f").write_bytes(b"1")
    site.start()
    site.source.stop()
    path = site.base / "agent" / "record.sqlite"
    assert path.exists()
    for each in path.parent.glob("record.sqlite*"):
        each.write_bytes(b"not a database" * 1000)
    (site.tree / "f").unlink()
    (site.tree / "g").write_bytes(b"2")
    site.start()
    site.settle()
    assert site.node.head.epoch == 2
    assert (path.parent / "damaged-record.sqlite").exists()


def test_a_record_that_was_set_back_begins_a_new_epoch(site: Site) -> None:
    """A host that is restored from an old image of its disk."""
    (site.tree / "f").write_bytes(b"1")
    site.start()
    site.source.stop()
    kept = {path: path.read_bytes() for path in (site.base / "agent").rglob("*") if path.is_file()}
    (site.tree / "g").write_bytes(b"2")
    site.start()
    site.settle()
    site.source.stop()
    for path in (site.base / "agent").rglob("*"):
        if path.is_file():
            path.unlink()
    for path, content in kept.items():
        path.write_bytes(content)
    (site.tree / "g").unlink()
    time.sleep(0.02)
    site.start()
    site.settle()
    assert site.node.head.epoch == 2
    assert site.node.marks_of("gap")


def test_a_node_that_lost_what_it_had_acknowledged_does_not_go_unnoticed(site: Site) -> None:
    (site.tree / "f").write_bytes(b"1")
    site.start()
    site.source.stop()
    head, events = site.node.head, list(site.node.events)
    (site.tree / "g").write_bytes(b"2")
    site.start()
    site.settle()
    site.source.stop()
    site.node.head, site.node.events = head, events
    site.start()
    site.settle()
    assert [gap.label for gap in site.node.marks_of("gap")] == ["the node has lost what it had acknowledged"]


def test_a_lost_record_leaves_nothing_of_the_old_tree(site: Site) -> None:
    (site.tree / "old").write_bytes(b"1")
    site.start()
    site.source.stop()
    for path in (site.base / "agent").glob("record*"):
        path.unlink()
    (site.tree / "old").rename(site.tree / "new")
    site.start()
    site.settle()
    assert site.node.head.epoch == 2


def test_a_full_spool_is_loud_and_heals(site: Site) -> None:
    source = site.start(spool_limit_bytes=300_000)
    site.node.away = True
    for number in range(6):
        (site.tree / f"f{number}").write_bytes(os.urandom(200_000))
        time.sleep(0.1)
    wait_for(lambda: source.view.state == "failed")
    assert "spool" in source.report()["message"]
    (site.tree / "f1").unlink()
    site.node.away = False
    site.settle()
    wait_for(lambda: source.view.state == "protected")
    assert [gap.label for gap in site.node.marks_of("gap")][-1] == "the spool was full"
    wait_for(lambda: sum(path.stat().st_size for path in (site.base / "agent" / "spool").iterdir()) == 0)


@pytest.mark.parametrize("cut", [True, False])
def test_a_damaged_spool_is_made_good_by_looking(site: Site, cut: bool) -> None:
    site.start()
    site.node.away = True
    (site.tree / "f").write_bytes(b"1" * 1000)
    wait_for(lambda: site.source.report()["pending"])
    site.source.stop()
    (segment,) = (site.base / "agent" / "spool").iterdir()
    if cut:
        os.truncate(segment, 10)
    else:
        with segment.open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"~")
    site.node.away = False
    site.start()
    site.settle()


def test_lost_answers_and_refusals(site: Site) -> None:
    site.start()
    site.node.lose_answers = 3
    for number in range(5):
        (site.tree / "f").write_bytes(b"%d" % number)
        time.sleep(0.05)
    site.settle()
    site.node.refuse = True
    (site.tree / "f").write_bytes(b"refused")
    wait_for(lambda: "refuses" in site.source.report()["message"])
    site.node.refuse = False
    site.settle()
    assert site.node.head.epoch == 1


def test_times_never_go_back(site: Site) -> None:
    for _ in range(2):
        site.start()
        for number in range(10):
            (site.tree / "f").write_bytes(b"%d" % number)
            time.sleep(0.01)
        site.settle()
        site.source.stop()
    times = [event.at for event in site.node.events]
    assert times == sorted(times)


def test_a_rollback_forgets_what_the_node_never_got(tmp_path: Path) -> None:
    record = AgentRecord(tmp_path / "r")
    status = os.stat(tmp_path)
    record.put_inode(0, 1, status, b"", b"", 1)
    record.put_inode(2, 2, status, b"", b"", 1)
    record.put_inode(9, 9, status, b"", b"", 1)
    record.put_inode(3, 11, status, b"", b"", 1)
    record.put_name(0, b"old", 2, 3)
    record.put_name(0, b"new", 9, 10)
    record.put_name(0, b"unlinked", None, 12)
    record.put_name(9, b"below", 3, 13)
    record.put_blocks(3, 0, 4, b"x" * 16)
    record.put_blocks(3, 1, 12, b"y" * 16)
    record.set_fact("baseline_lsn", 8)
    record.roll_back(8)
    assert record.fact("baseline_lsn") == 8
    assert record.inode(9) is None
    changed, kept = record.inode(3), record.inode(2)
    assert changed is not None and (changed.size, changed.ctime_ns) == (-1, -1)
    assert kept is not None and kept.ctime_ns == 1
    assert record.name(0, b"old") == kept
    assert record.name(0, b"new") == record.name(0, b"unlinked") == -1
    assert record.name(9, b"below") is None
    assert record.blocks(3, 0) == b"x" * 16 and record.blocks(3, 1) is None
    record.close()


def test_an_overflow_is_a_gap_that_closes_itself(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.start(watch="inotify")
    real_drain, lost = InotifyWatcher.drain, []

    def losing(self: InotifyWatcher) -> Drained:
        drained = real_drain(self)
        if drained and not lost:
            lost.append(drained)
            return Drained(overflowed=True)
        return drained

    monkeypatch.setattr(InotifyWatcher, "drain", losing)
    (site.tree / "d").mkdir()
    (site.tree / "d" / "f").write_bytes(b"1")
    site.settle()
    wait_for(lambda: site.node.marks_of("gap"))
    assert [gap.label for gap in site.node.marks_of("gap")] == ["event queue overflow"]
    (site.tree / "d" / "f").write_bytes(b"2")
    site.settle()


def test_no_point_is_set_on_what_an_overflow_has_missed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that shows in a pass with something to say: the gap reaches back to before that, and no point lies in it."""
    site.start(watch="inotify")
    real_look, real_drain = capture.Capture.look, InotifyWatcher.drain
    missed_at, lost = [], []

    def look(self: capture.Capture, names: set[tuple[int, bytes]], directories: set[int]) -> None:
        real_look(self, names, directories)
        if not missed_at and b"seen" in {name for _, name in names}:
            missed_at.append(site.settings.site_clock.now())
            (site.tree / "missed").write_bytes(b"1")

    def losing(self: InotifyWatcher) -> Drained:
        drained = real_drain(self)
        if missed_at and not lost:
            lost.append(drained)
            return Drained(overflowed=True)
        return drained

    monkeypatch.setattr(capture.Capture, "look", look)
    monkeypatch.setattr(InotifyWatcher, "drain", losing)
    (site.tree / "seen").write_bytes(b"1")
    [gap] = wait_for(lambda: site.node.marks_of("gap"))
    site.settle()
    assert (gap.label, gap.gap_from <= missed_at[0] <= gap.at) == ("event queue overflow", True)
    later = [point for point in site.node.points() if point.at >= missed_at[0]]
    assert later and all(b"/missed" in site.image(point.lsn) for point in later)


def test_what_was_not_there_is_told_no_more_once_all_was_looked_at(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[str, str]] = []
    real_run = live.Live.run

    def run(self: live.Live) -> None:
        shown.append(source.view.shown())
        real_run(self)

    monkeypatch.setattr(live.Live, "run", run)
    source = Source(site.settings)
    site.sources.append(source)
    source.view.nothing_at, source.view.nothing = [str(site.tree)], True  # as a session before has left it
    source.start()
    wait_for(lambda: shown)
    assert shown == [("protected", "")]


def test_large_directories_and_long_queues_take_other_ways(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baseline, "HELD_MAX", 3)
    monkeypatch.setattr(hints, "DIRTY_MAX", 5)
    changes = Changes(site.tree, site.base / "outside", 5)
    for _ in range(2):
        for _ in range(60):
            changes.step()
        time.sleep(0.02)
        site.start()
        for _ in range(60):
            changes.step()
        site.settle()
        site.source.stop()
    assert [gap.label for gap in site.node.marks_of("gap")] == ["agent was down"]
