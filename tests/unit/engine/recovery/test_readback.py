"""Reading a restored tree back: equal trees say nothing, every kind of change is found."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.model.events import DataRef, Inode
from engine.model.extents import Piece
from engine.plan.restore import Made, RestorePlan
from engine.recovery import readback
from engine.recovery.restore import Progress, Restored

CONTENT = b"abc" * 1000
MTIME = 1_700_000_000_000_000_000


class Reader:
    """Stands for the journal: the piece's bytes are CONTENT's."""

    def __init__(self, journal: Any) -> None:
        pass

    def matches(self, found: bytes, piece: Piece, stream: str) -> bool:
        return found == CONTENT[piece.skip : piece.skip + piece.length]


@pytest.fixture
def restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Callable[..., list[str]]]:
    """A file of CONTENT and a hole after it, as it was kept; and what reading it back finds."""
    monkeypatch.setattr(readback, "DataReader", Reader)
    file = tmp_path / "file"
    size = len(CONTENT) + 10_000
    with file.open("wb") as stream:
        stream.write(CONTENT)
        stream.truncate(size)
    file.chmod(0o640)
    os.utime(file, ns=(MTIME, MTIME))
    inode = Inode(1, 1, 1, "f", 0o640, os.getuid(), os.getgid(), size, MTIME)
    plan = RestorePlan(os.fsencode(tmp_path), (), (Made(os.fsencode(file), inode),), ())
    pieces = {1: [Piece(0, len(CONTENT), DataRef("packs/p", 64, 10, 0), 0, len(CONTENT), b"h")]}

    def look(progress: Progress | None = None) -> list[str]:
        journal: Any = SimpleNamespace()
        return [what for _, what in readback.read_back(journal, "s", plan, pieces, Restored(), True, progress)]

    return file, look


def test_what_was_read_is_told_without_holes(restored: tuple[Path, Callable[..., list[str]]]) -> None:
    told: list[tuple[int, int]] = []
    assert restored[1](lambda files, count: told.append((files, count))) == []
    assert told == [(1, len(CONTENT))]


def test_what_is_equal_says_nothing(restored: tuple[Path, Callable[..., list[str]]]) -> None:
    assert restored[1]() == []


def test_each_change_is_found(restored: tuple[Path, Callable[..., list[str]]]) -> None:
    file, look = restored

    def touch(offset: int, data: bytes) -> None:
        with file.open("r+b") as stream:
            stream.seek(offset)
            stream.write(data)
        os.utime(file, ns=(MTIME, MTIME))

    touch(5, b"X")
    assert look() == ["content at byte 0"]
    touch(5, CONTENT[5:6])
    assert look() == []
    touch(len(CONTENT) + 5000, b"Y")
    [found] = look()
    assert found.startswith("content at byte")
    touch(len(CONTENT) + 5000, b"\0")
    file.chmod(0o600)
    assert look() == ["mode"]
    file.chmod(0o640)
    os.utime(file, ns=(0, 0))
    assert look() == ["mtime_ns"]
    file.unlink()
    assert look() == ["No such file or directory"]
