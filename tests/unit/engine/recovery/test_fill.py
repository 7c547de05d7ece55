"""Files that can't be made: damage of the journal is told apart from what this machine lacks."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.model.errors import Damaged
from engine.model.events import DataRef, Inode
from engine.model.extents import Piece
from engine.plan.restore import Made, RestorePlan
from engine.recovery import restore as restoring_files
from engine.recovery import workers
from engine.recovery.fill import FileTask, Filled, fill
from engine.recovery.restore import Restored, restore
from engine.recovery.restoring import Outcome

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


def test_workers_tell_it_too(capsys: pytest.CaptureFixture[str]) -> None:
    workers._answer([workers._row(Filled(b"/a", 0, failure="why", damaged=True))])
    row = json.loads(capsys.readouterr().out)
    assert workers._filled(row) == Filled(b"/a", 0, failure="why", damaged=True)


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
