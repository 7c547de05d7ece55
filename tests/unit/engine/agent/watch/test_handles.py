"""File handles that can't be opened still tell which inode they were, on file systems whose handles say so."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from engine.agent.watch import fanotify as fan


def test_the_number_in_an_ext4_handle(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    fd = os.open(path, os.O_RDONLY)
    try:
        key, _ = fan.object_key(fd)
    except OSError as error:
        pytest.skip(f"no file handles here: {os.strerror(error.errno or errno.EIO)}")
    finally:
        os.close(fd)
    number = fan.inode_number(key)
    assert number in (None, path.stat().st_ino)
    if key[fan.FSID_SIZE :][:8] == (8).to_bytes(4, "little") + (1).to_bytes(4, "little"):
        assert number == path.stat().st_ino


def test_another_kind_of_handle_says_nothing() -> None:
    key = bytes(fan.FSID_SIZE) + (12).to_bytes(4, "little") + (1).to_bytes(4, "little") + bytes(12)
    assert fan.inode_number(key) is None
