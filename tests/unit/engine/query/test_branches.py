"""What lies beside the history: damage in it hides nothing else, and its marks are found after those of the history."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.model.errors import NothingThere
from engine.model.events import Dentry, Event, Inode, Mark
from engine.model.ids import Position
from engine.model.lineage import Beside, Epoch
from engine.model.points import Moment
from engine.query.branches import branches, gap_counts
from engine.query.points import point_for
from engine.query.session import Session
from engine.query.timeline import all_versions, versions

from .plain_journal import STREAM, PlainJournal

BEGIN: list[Event] = [
    Inode(1, 10, 0, "d", 0o755, 0, 0, 0, 1),
    Inode(2, 10, 2, "f", 0o644, 0, 0, 0, 1),
    Dentry(3, 10, 0, b"file", 2),
    Mark(4, 20, "baseline", "", "quiet"),
]
LEFT: list[Event] = [
    Inode(5, 30, 2, "f", 0o600, 0, 0, 0, 2),
    Mark(6, 40, "gap", "overflow", "", 35),
    Mark(7, 40, "pass", "", "quiet"),
    Mark(8, 41, "bookmark", "both"),
    Mark(9, 50, "pass", "", "quiet"),
    Mark(10, 51, "bookmark", "left"),
]
SINCE: list[Event] = [
    Inode(5, 90, 2, "f", 0o640, 0, 0, 0, 3),
    Mark(6, 90, "pass", "", "quiet"),
    Mark(7, 91, "bookmark", "both"),
]
FORK = Beside(Position(1, 4), "recovery x")


def forked(root: Path, left: list[Event]) -> PlainJournal:
    journal = PlainJournal(root)
    journal.add_stream()
    journal.commit(BEGIN)
    journal.commit(left)
    journal.add_epoch(Epoch(2, FORK.left, FORK.cause, "b", 60))
    journal.commit(SINCE, epoch=2)
    return journal


def test_versions_of_both_histories(tmp_path: Path) -> None:
    with Session(forked(tmp_path, LEFT)) as session:
        found, [aside] = all_versions(session, STREAM, b"/file")
        assert [(one.position, one.mode) for one in found] == [(Position(1, 4), 0o644), (Position(2, 6), 0o640)]
        assert [(one.position, one.change, one.mode) for one in aside.versions] == [
            (Position(1, 7), "attributes", 0o600)
        ]
        assert (aside.branch.beside, aside.damaged) == (FORK, "")
        assert versions(session, STREAM, b"/file") == found
        assert gap_counts(session, STREAM) == (0, 1)
        with pytest.raises(NothingThere, match="there never was a /other"):
            all_versions(session, STREAM, b"/other")


def test_what_is_missing_beside_the_history_hides_nothing_of_it(tmp_path: Path) -> None:
    with Session(forked(tmp_path, LEFT[1:])) as session:
        found, [aside] = all_versions(session, STREAM, b"/file")
        assert len(found) == 2 and aside.versions == ()
        assert "events 5 " in aside.damaged


def test_a_mark_of_the_history_goes_before_one_that_was_left(tmp_path: Path) -> None:
    with Session(forked(tmp_path, LEFT)) as session:
        assert [branch.last.position for branch in branches(session, STREAM)] == [Position(1, 9)]
        both = point_for(session, STREAM, Moment("m", label="both"), 1000)
        assert (both.position, both.beside) == (Position(2, 6), None)
        left = point_for(session, STREAM, Moment("m", label="left"), 1000)
        assert (left.position, left.beside) == (Position(1, 9), FORK)
        with pytest.raises(NothingThere, match="no mark is named 'none'"):
            point_for(session, STREAM, Moment("m", label="none"), 1000)
