"""File handles tell which inode they are of, opened or not, on file systems whose handles are known to."""

from __future__ import annotations

import os

import pytest

from engine.agent.watch import fanotify as fan
from engine.agent.watch.marks import FilesystemWatcher
from tests import mounts


@pytest.mark.parametrize("kind", mounts.KINDS)
def test_the_number_in_a_handle(kind: str) -> None:
    with mounts.mounted(kind) as path:
        (path / "file").write_bytes(b"x")
        fd = os.open(path / "file", os.O_RDONLY)
        try:
            key, _ = fan.object_key(fd)
        finally:
            os.close(fd)
        assert fan.inode_number(key) == (path / "file").stat().st_ino


@pytest.mark.parametrize("kind", mounts.KINDS)
def test_what_became_of_a_nameless_file_is_not_asked_by_opening_it(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with mounts.mounted(kind) as path:
        (path / "file").write_bytes(b"x")
        (path / "file").rename(path / "other")
        number = (path / "other").stat().st_ino
        watcher = FilesystemWatcher()
        try:
            watcher.add_directory(1, os.fsencode(path))
            watcher.drain()
            monkeypatch.setattr(watcher, "_open", lambda key: pytest.fail("opened by its handle"))
            (path / "other").unlink()
            assert number in {inode for _, inode in watcher.drain().inodes}
        finally:
            watcher.close()


def test_handles_that_would_mislead_are_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other file systems use the same kinds of handles, and put other things into them."""
    monkeypatch.setattr(fan, "inode_number", lambda key: 4711)
    with mounts.mounted("tmpfs") as path:
        (path / "file").write_bytes(b"x")
        os.link(path / "file", path / "second")
        number = (path / "file").stat().st_ino
        watcher = FilesystemWatcher()
        try:
            watcher.add_directory(1, os.fsencode(path))
            watcher.drain()
            (path / "second").unlink()
            assert {inode for _, inode in watcher.drain().inodes} == {number}
        finally:
            watcher.close()


def test_another_kind_of_handle_says_nothing() -> None:
    key = bytes(fan.FSID_SIZE) + (16).to_bytes(4, "little") + (1).to_bytes(4, "little") + bytes(16)
    assert fan.inode_number(key) is None
