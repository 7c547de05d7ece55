"""The file systems of a source come and go: what an unmount hides was not deleted, and what a mount brings is captured.

See docs/decisions/0017: what is missed is held and told, and what lies at a path is what the path holds.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.agent.capture.hints import REMOUNTED
from engine.agent.catching_up import NOT_MOUNTED
from tests.failures.host import CLOCKS_APART, Host, a_host, site_now
from tests.mounts import Volume, volume

SMALL_BYTES = 20 << 20


@pytest.fixture
def other() -> Iterator[Volume]:
    """A file system that is mounted, with a few files on it."""
    with volume("ext4", SMALL_BYTES) as made:
        made.mount()
        fill(made.path)
        yield made


def fill(tree: Path, text: str = "1") -> None:
    (tree / "d").mkdir(exist_ok=True)
    (tree / "d" / "f").write_text(text)
    (tree / "f").write_text(text)


def missed(host: Host, path: Path) -> dict[str, object]:
    """Wait until the agent says that the path's file system is not mounted."""

    def told() -> bool:
        row = host.reported()
        return row.get("state") == "failed" and f"{path} is not mounted" in row["message"] and bool(row["gap_from"])

    host.wait(told, f"the agent to miss {path}")
    return host.reported()


def is_back(host: Host, below: Path) -> None:
    """All is well again, and the time between is a gap."""
    host.wait(lambda: not host.differing(below), "the history to equal the disk")
    row = host.protected()
    assert row["message"] == ""
    through = row["through_at"] or 0
    host.wait(lambda: (host.reported()["through_at"] or 0) > through, "the source to be complete again")
    host.check()


def test_a_source_that_is_unmounted_keeps_its_last_state(tmp_path: Path, other: Volume) -> None:
    with a_host(tmp_path / "host", tree=other.path) as host:
        host.start()
        host.settle()
        host.protected()
        kept = host.image()
        host.wait(lambda: host.reported()["through_at"], "the source to be complete")
        other.unmount()
        unmounted_at = site_now()
        assert os.listdir(other.path) == []
        row = missed(host, other.path)
        assert row["gap_from"] <= unmounted_at + CLOCKS_APART
        assert host.image() == kept
        # A restart changes nothing about that.
        assert host.end() == 0
        said = len(host.node.statuses)
        host.wait_for_clocks(unmounted_at)
        host.start()
        host.wait(lambda: len(host.node.statuses) > said, "a report")
        missed(host, other.path)
        assert host.image() == kept
        other.mount()
        (other.path / "f").write_text("2")
        is_back(host, other.path)
        assert host.image()[b"/d/f"] == kept[b"/d/f"]
        labels = [gap.label for gap in host.gaps()]
        assert labels == [REMOUNTED, "agent was down", NOT_MOUNTED] or labels[-1] in (REMOUNTED, NOT_MOUNTED)
        assert host.gaps()[-1].gap_from <= unmounted_at + CLOCKS_APART, "the gap reaches back to the unmount"
        unlinked = [event for event in host.node.events if getattr(event, "file_id", 0) is None]
        assert not unlinked, "an unmount was taken for a deletion"


def test_a_source_below_a_mount_point(tmp_path: Path, other: Volume) -> None:
    tree = other.path / "deep" / "data"
    tree.mkdir(parents=True)
    fill(tree)
    with a_host(tmp_path / "host", tree=tree) as host:
        host.start()
        host.settle()
        host.protected()
        kept = host.image()
        other.unmount()
        missed(host, other.path)
        assert host.image() == kept
        other.mount()
        is_back(host, tree)
        assert host.image() == kept


def test_an_agent_that_starts_before_the_mount(tmp_path: Path, other: Volume) -> None:
    """As at boot: the record knows what was mounted there."""
    with a_host(tmp_path / "host", tree=other.path) as host:
        host.start()
        host.settle()
        host.protected()
        kept = host.image()
        assert host.end() == 0
        # Another process's mount namespace may hold on to it for a while: the image must have all of it by now.
        subprocess.run(["sync", "-f", other.path], check=True)
        other.unmount()
        host.start()
        missed(host, other.path)
        assert host.image() == kept
        # On another device, as after a boot that found the disks in another order: the same inodes all the same.
        before = len(host.node.events)
        argv = ["losetup", "--find", "--show", str(other.home / "image")]
        devices = subprocess.run(argv, capture_output=True, check=True, text=True).stdout.strip()
        try:
            subprocess.run(["mount", devices, str(other.path)], check=True)
            is_back(host, other.path)
            changed = [event for event in host.node.events[before:] if getattr(event, "name", None)]
            assert not changed, "the same file system on another device is the same"
            assert host.end() == 0
        finally:
            other.unmount()
            subprocess.run(["losetup", "-d", devices], check=True)


def test_what_lies_in_the_mount_point_is_what_the_path_holds(tmp_path: Path, other: Volume) -> None:
    with a_host(tmp_path / "host", tree=other.path) as host:
        host.start()
        point, kept = host.settle(), host.image()
        host.protected()
        other.unmount()
        unmounted_at = site_now()
        missed(host, other.path)
        host.wait_for_clocks(unmounted_at)
        (other.path / "new").write_text("here now")
        is_back(host, other.path)
        assert set(host.image()) == {b".", b"/new"}
        assert host.image(point.lsn) == kept
        assert host.gaps()[-1].gap_from <= unmounted_at + CLOCKS_APART
        (other.path / "new").unlink()


def test_another_file_system_takes_the_place(tmp_path: Path, other: Volume) -> None:
    with volume("ext4", SMALL_BYTES) as another, a_host(tmp_path / "host", tree=other.path) as host:
        host.start()
        host.settle()
        host.protected()
        kept = host.image()
        other.unmount()
        missed(host, other.path)
        subprocess.run(["mount", another.device, other.path], check=True)
        said = len(host.node.statuses)
        host.wait(lambda: len(host.node.statuses) > said + 2, "reports")
        missed(host, other.path)  # it is empty: not what was there
        assert host.image() == kept
        (other.path / "f").write_text("of another")
        is_back(host, other.path)
        assert {b"/f", b"/lost+found"} <= set(host.image()) and b"/d/f" not in host.image()


def test_a_mount_below_a_source_belongs_to_it(tmp_path: Path, other: Volume) -> None:
    other.unmount()
    with a_host(tmp_path / "host") as host:
        below = host.tree / "below"
        fill(host.tree)
        below.mkdir()
        (below / "hidden").write_text("under what is mounted here")
        host.start()
        before = host.settle()
        subprocess.run(["mount", other.device, below], check=True)
        try:
            is_back(host, host.tree)
            assert host.image()[b"/below/d/f"][-1] == b"1"
            assert b"/below/hidden" not in host.image(), "what can't be seen is not there"
            assert b"/below/hidden" in host.image(before.lsn)
            (gap,) = host.gaps()
            assert gap.label == REMOUNTED
            (below / "f").write_text("through the mount")
            host.settle()
            kept = host.image()
            # What is beneath it is no empty directory: it is what the path holds now.
            subprocess.run(["umount", below], check=True)
            host.wait(lambda: b"/below/hidden" in host.image(), "what was hidden to be seen")
            is_back(host, host.tree)
            # Nothing is beneath it: what was mounted is missed, the rest goes on.
            (below / "hidden").unlink()
            host.settle()
            subprocess.run(["mount", other.device, below], check=True)
            is_back(host, host.tree)
            assert {path: what[-1] for path, what in host.image().items()} == {
                path: what[-1] for path, what in kept.items()
            }
            subprocess.run(["umount", below], check=True)
            missed(host, below)
            (host.tree / "f").write_text("beside it")
            host.wait(lambda: host.image()[b"/f"][-1] == b"beside it", "what is mounted to be captured meanwhile")
            assert host.image()[b"/below/d/f"] == kept[b"/below/d/f"]
            subprocess.run(["mount", other.device, below], check=True)
            is_back(host, host.tree)
        finally:
            subprocess.run(["umount", below], check=False, capture_output=True)


def test_bind_mounts(tmp_path: Path) -> None:
    """Of one file system: the device number tells nothing."""
    with a_host(tmp_path / "host") as host:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        fill(elsewhere)
        subprocess.run(["mount", "--bind", elsewhere, host.tree], check=True)
        try:
            host.start()
            host.settle()
            (elsewhere / "f").write_text("from the other side")
            host.settle()
            kept = host.image()
            assert kept[b"/f"][-1] == b"from the other side"
            subprocess.run(["umount", host.tree], check=True)
            missed(host, host.tree)
            assert host.image() == kept
            subprocess.run(["mount", "--bind", elsewhere, host.tree], check=True)
            is_back(host, host.tree)
        finally:
            subprocess.run(["umount", host.tree], check=False, capture_output=True)


def test_nothing_at_any_path_is_a_failure(tmp_path: Path) -> None:
    with a_host(tmp_path / "host") as host:
        fill(host.tree)
        host.start()
        host.settle()
        host.tree.rename(tmp_path / "away")
        host.wait(lambda: host.reported().get("state") == "failed", "the agent to say that there is nothing")
        assert host.reported()["message"] == f"there is nothing at {host.tree}"
        host.wait(lambda: not host.image(), "the deletion to be captured as one")
        (tmp_path / "away").rename(host.tree)
        host.settle()
        assert host.protected()["message"] == ""
