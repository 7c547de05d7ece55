"""Files that can't be made: damage of the journal is told apart from what this machine lacks."""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.model.errors import Damaged, Failed
from engine.model.events import DataRef, Inode
from engine.model.extents import Piece
from engine.plan.restore import Made, RestorePlan
from engine.recovery import restore as restoring_files
from engine.recovery import workers
from engine.recovery.fill import FileTask, Filled, fill
from engine.recovery.restore import Restored, restore
from engine.recovery.restoring import Outcome
from engine.recovery.workers import fill_in_processes

DAMAGED, FULL = Damaged("frame 64 of packs/p is damaged"), OSError(errno.ENOSPC, "full")


class Reader:
    """Stands for the journal; what it raises instead of reading."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def read_once(self, piece: Piece, stream: str) -> memoryview:
        raise self.error


def task(target: bytes) -> FileTask:
    piece = Piece(0, 3, DataRef("packs/p", 64, 10, 0), 0, 3, b"h")
    return FileTask(target, Inode(1, 1, 1, "f", 0o640, 0, 0, 3, 0), (piece,))


@pytest.mark.parametrize(("error", "damaged"), [(DAMAGED, True), (FULL, False)])
def test_what_fails_is_taken_away_and_says_why(tmp_path: Path, error: Exception, damaged: bool) -> None:
    reader: Any = Reader(error)
    filled = fill(task(os.fsencode(tmp_path / "file")), reader, "s", owners=False)
    assert filled.failure and filled.damaged == damaged
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_not_there_is_no_damage(tmp_path: Path) -> None:
    reader: Any = Reader(DAMAGED)
    assert not fill(task(os.fsencode(tmp_path / "none" / "file")), reader, "s", owners=False).damaged


def test_workers_tell_what_became_of_each_file(tmp_path: Path) -> None:
    journal: Any = None  # files without bytes need none of it
    empty = Inode(1, 1, 1, "f", 0o640, os.geteuid(), os.getegid(), 0, 7)
    there = [os.fsencode(tmp_path / f"file {number}") for number in range(40)]
    tasks = [FileTask(target, empty, ()) for target in there]
    (tmp_path / "file 7").write_bytes(b"in the way")
    found = {each.target: each for each in fill_in_processes(journal, "s", tasks, [range(20), range(20, 40)], True, 2)}
    assert sorted(found) == sorted(there)
    assert "file exists" in found[there[7]].failure.lower()
    for target in there[:7] + there[8:]:
        assert found[target] == Filled(target, 0)
        assert (os.stat(target).st_mode & 0o777, os.stat(target).st_mtime_ns) == (0o640, 7)


def test_what_workers_say_of_trouble_arrives_whole() -> None:
    tasks = [task(b"/a"), task(b"/b")]
    for told in (
        Filled(b"/b", 0, failure="frame 64 of packs/p: \xe9 \udcff", damaged=True),
        Filled(b"/b", 7, ("/b: owner: not\npermitted",)),
        Filled(b"/b", 1 << 40),
    ):
        [line] = workers._line(1, told).splitlines()
        assert workers._filled(line, tasks) == told


def test_a_worker_that_dies_ends_the_restore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> Filled:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    def children() -> list[str]:
        return Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()

    monkeypatch.setattr(workers, "fill_all", killed)
    journal: Any = None
    before = children()
    with pytest.raises(Failed, match="ended with code -9"):
        list(fill_in_processes(journal, "s", [task(os.fsencode(tmp_path / "file"))], [[0]], True, 1))
    assert children() == before, "none is left to be waited for"


def test_files_that_no_worker_answers_for_end_the_restore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal: Any = None
    tasks = [FileTask(os.fsencode(tmp_path / name), Inode(1, 1, 1, "f", 0o640, 0, 0, 0, 7), ()) for name in "ab"]
    whole = workers._queue
    monkeypatch.setattr(workers, "_queue", lambda count: whole(count - 1))
    with pytest.raises(Failed, match="answered for 1 of 2 files"):
        list(fill_in_processes(journal, "s", tasks, [[0], [1]], True, 2))


@pytest.mark.parametrize(
    ("kept", "closed"),
    [((5, 9), [(3, 5), (6, 9), (10, 65536)]), ((0, 7), [(3, 0), (3, 7), (8, 65536)])],
    ids=["as ever", "without standard input"],
)
def test_a_worker_keeps_its_pipes_and_the_standard_descriptors(
    monkeypatch: pytest.MonkeyPatch, kept: tuple[int, int], closed: list[tuple[int, int]]
) -> None:
    found: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "closerange", lambda first, end: found.append((first, end)))
    workers._close_all_but(kept)
    assert found == closed


@pytest.mark.parametrize("damaged", [[], [False], [False, True]])
def test_one_damaged_file_makes_the_restore_a_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: Sequence[bool]
) -> None:
    names = [os.fsencode(tmp_path / str(number)) for number in range(len(damaged))]
    answers = [Filled(name, 0, failure="why", damaged=each) for name, each in zip(names, damaged, strict=True)]
    monkeypatch.setattr(restoring_files, "_fill", lambda *_: iter(answers))
    plan = RestorePlan(os.fsencode(tmp_path), (), tuple(Made(name, task(name).inode) for name in names), ())
    journal: Any = None
    done = restore(journal, "s", plan, {}, owners=False, progress=lambda files, count: None)
    outcome = Outcome(done, 1.0, False)
    assert (outcome.verified, outcome.damaged) == (not damaged, any(damaged))


def test_what_differs_when_read_back_is_damage() -> None:
    assert Outcome(Restored(), 1.0, True, [(b"/a", "mode")]).damaged
