"""A mount that comes or goes means a new scan where it takes marks away, and nothing elsewhere."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from engine.agent.watch.choose import open_watcher
from engine.agent.watch.marks import DirectoryWatcher

Loops = Callable[[str], AbstractContextManager[tuple[Path, Callable[[], None]]]]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@needs_root
@pytest.mark.parametrize("mechanism", ["fanotify", "fanotify-directories", "inotify"])
def test_a_mount_that_goes_and_comes_back_means_a_new_scan(loops: Loops, mechanism: str) -> None:
    with loops("ext4") as (mount_point, mount_again):
        watcher = open_watcher([os.fsencode(mount_point)], force=mechanism)
        try:
            watcher.add_directory(1, os.fsencode(mount_point))
            mount_again()
            assert watcher.wait(5)
            assert watcher.drain().overflowed
            assert not watcher.drain().overflowed
            watcher.add_directory(1, os.fsencode(mount_point))
            (mount_point / "f").write_bytes(b"x")
            assert (1, b"f") in watcher.drain().dirty
        finally:
            watcher.close()


@needs_root
@pytest.mark.parametrize("mechanism", ["fanotify", "fanotify-directories", "inotify"])
def test_a_mount_elsewhere_means_nothing(root: Path, loops: Loops, mechanism: str) -> None:
    watcher = open_watcher([os.fsencode(root)], force=mechanism)
    try:
        with loops("ext4"):
            pass
        assert not watcher.drain().overflowed, "nothing is marked yet, so no mark can have gone"
        watcher.add_directory(1, os.fsencode(root))
        with loops("ext4"):
            pass
        assert not watcher.drain().overflowed
    finally:
        watcher.close()


@needs_root
@pytest.mark.parametrize("change", ["renamed", "removed", "another"])
def test_a_mount_elsewhere_after_the_first_directory_went_means_nothing(root: Path, loops: Loops, change: str) -> None:
    watcher = DirectoryWatcher([os.fsencode(root)])
    (root / "first").mkdir()
    (root / "second").mkdir()
    try:
        watcher.add_directory(1, os.fsencode(root / "first"))
        watcher.add_directory(2, os.fsencode(root / "second"))
        (root / "first").rename(root / "away")
        if change == "removed":
            (root / "away").rmdir()
        if change == "another":
            (root / "first").mkdir()
        with loops("ext4"):
            pass
        assert not watcher.drain().overflowed
        (root / "second/file").write_bytes(b"x")
        assert watcher.drain().dirty == {(2, b"file")}
    finally:
        watcher.close()


@needs_root
@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
def test_marks_that_went_are_missed_wherever_their_first_directory_is(loops: Loops, kind: str) -> None:
    with loops(kind) as (mount_point, mount_again):
        watcher = DirectoryWatcher([os.fsencode(mount_point)])
        (mount_point / "first").mkdir()
        try:
            watcher.add_directory(1, os.fsencode(mount_point / "first"))
            watcher.add_directory(2, os.fsencode(mount_point))
            (mount_point / "first").rename(mount_point / "away")
            mount_again()
            assert watcher.drain().overflowed
        finally:
            watcher.close()
