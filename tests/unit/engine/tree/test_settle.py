"""Making a tree durable, and dropping its pages."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest

from engine.tree.settle import drop_pages, sync


def test_a_tree_is_synced(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 10_000)
    sync(os.fsencode(tmp_path))
    with pytest.raises(FileNotFoundError):
        sync(os.fsencode(tmp_path / "nothing"))
    with pytest.raises(NotADirectoryError):
        sync(os.fsencode(tmp_path / "file"))


def test_dropped_pages_come_back_from_the_disk_as_they_were(tmp_path: Path) -> None:
    data = os.urandom(4 * mmap.PAGESIZE)
    (tmp_path / "file").write_bytes(data)
    sync(os.fsencode(tmp_path))
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        drop_pages(fd)
        assert os.pread(fd, len(data), 0) == data
    finally:
        os.close(fd)
