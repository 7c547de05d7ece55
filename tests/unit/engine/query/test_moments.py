"""Points of a stream with damage around them: no other point is handed out for the one that is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.env.clock import SYSTEM
from engine.model.errors import Damaged
from engine.model.events import Event, Inode, Mark
from engine.model.ids import Position
from engine.model.lineage import Epoch
from engine.model.points import Moment
from engine.query.points import point_for, points
from engine.query.session import Session

from .plain_journal import STREAM, PlainJournal

BEGIN: list[Event] = [Inode(1, 10, 0, "d", 0o755, 0, 0, 0, 1), Mark(2, 20, "baseline", "", "quiet")]


def passes(first: int, last: int) -> list[Event]:
    return [Mark(lsn, lsn * 10, "pass", "", "quiet") for lsn in range(first, last + 1)]


def test_a_time_whose_own_point_may_be_missing_is_refused(tmp_path: Path) -> None:
    journal = PlainJournal(tmp_path)
    journal.add_stream()
    journal.commit(BEGIN + passes(3, 4))
    journal.commit(passes(7, 9))
    with Session(journal) as session:
        assert [point.position.lsn for point in points(session, STREAM)] == [2, 3, 4, 7, 8, 9]
        assert point_for(session, STREAM, Moment("t", at=30), 1000).position == Position(1, 3)
        with pytest.raises(Damaged, match="events 5 to 6 "):
            point_for(session, STREAM, Moment("t", at=55), 1000)


def test_the_latest_point_is_refused_when_the_newest_object_is_damaged(tmp_path: Path) -> None:
    journal = PlainJournal(tmp_path)
    journal.add_stream()
    journal.commit(BEGIN)
    key = journal.commit(passes(3, 4))
    path = journal.files.path(key)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)
    with Session(journal) as session:
        with pytest.raises(Damaged) as caught:
            point_for(session, STREAM, Moment("latest"), 1000)
        assert caught.value.details["object"] == key
        assert point_for(session, STREAM, Moment("p", position=Position(1, 2)), 1000).at == 20


def test_damage_that_holds_nothing_of_a_stream_does_not_stop_it(tmp_path: Path) -> None:
    journal = PlainJournal(tmp_path)
    journal.add_stream()
    journal.commit(BEGIN)
    key = journal.commit(passes(3, 4), stream="0123456789abcdef")
    path = journal.files.path(key)
    content = bytearray(path.read_bytes())
    content[10] ^= 1
    path.write_bytes(content)
    with Session(journal) as session:
        assert session.held.damaged
        assert point_for(session, STREAM, Moment("latest"), 1000).position == Position(1, 2)


def test_a_bookmark_names_the_point_before_it_whatever_else_stands_on_it(tmp_path: Path) -> None:
    journal = PlainJournal(tmp_path)
    journal.add_stream()
    marks = [Mark(3, 30, "bookmark", "first"), Mark(4, 40, "bookmark", "second"), *passes(5, 5)]
    journal.commit([*BEGIN, *marks])
    with Session(journal) as session:
        for label in ("first", "second"):
            found = point_for(session, STREAM, Moment("mark", label=label), 1000)
            assert (found.position, found.label) == (Position(1, 2), label)
        assert [point.label for point in points(session, STREAM)] == ["second", ""]


def test_a_moment_before_a_recovery_is_of_what_the_source_was_then(tmp_path: Path) -> None:
    """Whoever went back too far finds what was there before, by its time."""
    journal = PlainJournal(tmp_path)
    journal.add_stream()
    journal.commit(BEGIN + passes(3, 9))
    journal.add_epoch(Epoch(2, Position(1, 4), "a recovery", "b", 0))
    opened_at = SYSTEM.now()
    later = opened_at + 1_000_000
    journal.commit([Mark(5, later, "pass", "", "quiet")], epoch=2)
    with Session(journal) as session:
        asked = {at: point_for(session, STREAM, Moment("t", at=at), later + 1).position for at in (45, 75, later)}
        assert asked == {45: Position(1, 4), 75: Position(1, 7), later: Position(2, 5)}
        assert point_for(session, STREAM, Moment("latest"), later + 1).position == Position(2, 5)
        assert [point.position.lsn for point in points(session, STREAM)] == [2, 3, 4, 5]
