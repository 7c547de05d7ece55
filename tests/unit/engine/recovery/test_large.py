"""Files that are filled in parts: whole at the end, or not there at all."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from engine.model.events import DataRef, Inode
from engine.model.extents import Piece
from engine.recovery import large
from engine.recovery.fill import FileTask, Filled

PIECE = 1000


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "PART_BYTES", 4 * PIECE)


def task(target: Path, count: int) -> FileTask:
    inode = Inode(1, 0, 1, "f", 0o640, os.getuid(), os.getgid(), count * PIECE + 7, 123_456_789)
    data = DataRef("packs/p", 64, 10, 0)
    pieces = tuple(Piece(number * PIECE, PIECE, data, 0, PIECE, b"") for number in range(count))
    return FileTask(bytes(target), inode, pieces)


def write(tasks: Sequence[FileTask], fail_at: int = -1) -> Iterator[Filled]:
    """A worker: each piece's bytes are its number; at a given offset it fails."""
    for one in tasks:
        assert one.part
        if any(piece.offset == fail_at for piece in one.pieces):
            yield Filled(one.target, 0, failure="a flipped bit", damaged=True, part=True)
            continue
        with open(one.target, "r+b") as file:
            for piece in one.pieces:
                file.seek(piece.offset)
                file.write(bytes([piece.offset // PIECE]) * PIECE)
        yield Filled(one.target, one.size, part=True)


def test_parts_make_one_file(tmp_path: Path) -> None:
    target = tmp_path / "big"
    one = task(target, 10)
    answers = list(large.fill([one], True, write))
    assert [answer.part for answer in answers] == [True, True, True, False]
    assert sum(answer.bytes_written for answer in answers) == 10 * PIECE
    assert target.read_bytes() == b"".join(bytes([n]) * PIECE for n in range(10)) + bytes(7)
    status = target.stat()
    assert (status.st_mode & 0o777, status.st_mtime_ns) == (0o640, 123_456_789)


def test_one_failed_part_takes_the_file_away(tmp_path: Path) -> None:
    target = tmp_path / "big"
    answers = list(large.fill([task(target, 10)], True, lambda tasks: write(tasks, fail_at=5 * PIECE)))
    assert [(answer.failure, answer.damaged) for answer in answers if answer.failure] == [("a flipped bit", True)]
    assert not answers[-1].part
    assert not target.exists()


def test_a_target_that_is_there_is_not_touched(tmp_path: Path) -> None:
    target = tmp_path / "big"
    target.write_bytes(b"mine")
    [answer] = list(large.fill([task(target, 10)], True, write))
    assert "File exists" in answer.failure
    assert target.read_bytes() == b"mine"


def test_small_files_go_through_whole(tmp_path: Path) -> None:
    one = task(tmp_path / "small", 2)
    seen: list[FileTask] = []

    def each(tasks: Sequence[FileTask]) -> Iterator[Filled]:
        seen.extend(tasks)
        return iter([Filled(one.target, 2 * PIECE)])

    assert list(large.fill([one], True, each)) == [Filled(one.target, 2 * PIECE)]
    assert seen == [one]
