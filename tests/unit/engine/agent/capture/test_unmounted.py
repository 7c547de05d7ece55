"""What is missed where a file system is not mounted, told by a mount table of the test's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.agent.capture.unmounted import Unmounted
from engine.agent.kept.record import Record
from engine.drivers.files import Scope
from engine.model.events import ROOT_ID


class Tree:
    """A directory `data` with one on which something may be mounted, and the record of both."""

    def __init__(self, base: Path) -> None:
        self.data, self.below = base / "data", base / "data" / "below"
        self.below.mkdir(parents=True)
        self.record = Record(base / "record")
        self.mounts: dict[Path, str] = {Path("/"): "1:1"}
        self.kinds: dict[Path, str] = {}
        parent, number = ROOT_ID, 1
        self.record.put_inode(ROOT_ID, number, os.stat("/"), b"", b"", 1)
        self.at: dict[Path, tuple[int, bytes]] = {}
        path = Path("/")
        for name in self.below.parts[1:]:
            path, number = path / name, number + 1
            self.record.put_inode(number, number, path.stat(), b"", b"", 1)
            self.record.put_name(parent, os.fsencode(name), number, number)
            self.at[path] = parent, os.fsencode(name)
            parent = number
        self.record.put_inode(number + 1, number, self.below.stat(), b"", b"", 1)
        self.record.put_name(parent, b"file", number + 1, number)

    def table(self) -> bytes:
        rows = enumerate(self.mounts.items())
        lines = [f"{n} 0 {device} / {point} rw - {self.kinds.get(point, 'ext4 d')} rw" for n, (point, device) in rows]
        return "\n".join(lines).encode()

    def unmounted(self) -> Unmounted:
        return Unmounted(self.record, Scope([str(self.data)]), self.table)

    def holds(self, unmounted: Unmounted, path: Path) -> bool:
        return unmounted.holds(self.at[path], os.fsencode(path))


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    made = Tree(tmp_path)
    made.mounts |= {made.data: "8:1", made.below: "8:2"}
    made.unmounted().note()
    return made


def test_the_mount_of_a_recovery_is_not_missed(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.mounts[tree.below], tree.kinds[tree.below] = "0:50", "fuse.bcs-0123456789ab bcs-0123456789ab"
    tree.unmounted().note()
    del tree.mounts[tree.below]
    tree.below.rmdir()  # as a recovery that is cancelled leaves it
    unmounted = tree.unmounted()
    assert not tree.holds(unmounted, tree.below) and not unmounted.held


def test_what_was_never_mounted_is_not_missed(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    unmounted = tree.unmounted()
    unmounted.note()
    assert not tree.holds(unmounted, tree.data) and not unmounted.held


def test_empty_and_not_mounted_is_missed_until_something_changes(tree: Tree) -> None:
    del tree.mounts[tree.below]
    unmounted = tree.unmounted()
    assert tree.holds(unmounted, tree.below)
    assert unmounted.covers(os.fsencode(tree.below / "deep")) and not unmounted.covers(os.fsencode(tree.data))
    assert str(tree.below) in unmounted.told() and not unmounted.ended()
    tree.mounts[tree.below] = "8:2"
    assert unmounted.ended()
    del tree.mounts[tree.below]
    (tree.below / "file").touch()
    assert unmounted.ended()
    unmounted.begin()
    assert not tree.holds(unmounted, tree.below) and not unmounted.told()


def test_what_is_missed_stays_known(tree: Tree) -> None:
    del tree.mounts[tree.below]
    unmounted = tree.unmounted()
    assert tree.holds(unmounted, tree.below)
    unmounted.note()
    assert tree.holds(tree.unmounted(), tree.below), "after a restart"


def test_another_file_system_is_missed_only_while_it_is_empty(tree: Tree) -> None:
    tree.mounts[tree.below] = "8:9"
    assert tree.holds(tree.unmounted(), tree.below)
    (tree.below / "lost+found").mkdir()
    assert tree.holds(tree.unmounted(), tree.below)
    (tree.below / "other").touch()
    assert not tree.holds(tree.unmounted(), tree.below)


def test_a_mount_point_that_was_removed(tree: Tree) -> None:
    """As those of removable disks are; the disk has what it had."""
    del tree.mounts[tree.below]
    tree.below.rmdir()
    assert tree.holds(tree.unmounted(), tree.below)


def test_an_empty_directory_on_the_same_mount_is_a_deletion(tree: Tree) -> None:
    assert not tree.holds(tree.unmounted(), tree.below)


def test_the_directory_of_a_source_is_missed_with_the_mount_above_it(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.mounts[tmp_path] = "8:1"
    tree.unmounted().note()
    del tree.mounts[tmp_path]
    tree.below.rmdir()
    assert tree.holds(tree.unmounted(), tree.data)
    tree.data.rmdir()
    assert tree.holds(tree.unmounted(), tree.data)
