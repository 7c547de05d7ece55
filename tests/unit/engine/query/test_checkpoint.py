"""Checkpoints: what they keep, when they are made, and that a damaged one costs time only."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.journal import checkpoints
from engine.model.errors import Damaged
from engine.model.events import DataRef, Dentry, Event, Extent, Inode, Mark
from engine.model.ids import Position
from engine.model.points import Point
from engine.model.times import HOUR
from engine.query import asof, extents
from engine.query.checkpoint import build_checkpoint, folded, make_due
from engine.query.extents import pieces
from engine.query.session import Session
from engine.query.tree import entries

from .plain_journal import STREAM, PlainJournal


def inode(lsn: int, file_id: int | None = None, type: str = "f", size: int = 0) -> Inode:
    return Inode(lsn, lsn, lsn if file_id is None else file_id, type, 0o644, 1, 2, size, 77)


def extent(lsn: int, file_id: int, offset: int, length: int) -> Extent:
    return Extent(lsn, lsn, file_id, offset, length, DataRef("packs/p", lsn, 9, 0), bytes(16))


HISTORY: list[Event] = [
    inode(1, 0, "d"),
    inode(2, size=100),
    Dentry(3, 3, 0, b"big", 2),
    extent(4, 2, 0, 50),
    extent(5, 2, 50, 50),
    extent(6, 2, 10, 10),
    inode(7),
    Dentry(8, 8, 0, b"gone", 7),
    extent(9, 7, 0, 5),
    Mark(10, 10, "baseline", "", "quiet"),
    Dentry(11, 11, 0, b"gone", None),
    extent(12, 2, 0, 60),
    Mark(13, 13, "pass", "", "quiet"),
]
AFTER: list[Event] = [Dentry(14, 14, 0, b"back", 7), Mark(15, 15, "pass", "", "quiet")]
END = Point(Position(1, 13), 13, 23, "quiet")


@pytest.fixture
def journal(tmp_path: Path) -> PlainJournal:
    journal = PlainJournal(tmp_path)
    journal.add_stream()
    journal.commit(HISTORY[:7])
    journal.commit(HISTORY[7:])
    return journal


def test_it_keeps_what_counts_and_names_that_are_gone(journal: PlainJournal) -> None:
    with Session(journal) as session:
        rows = folded(session, asof.as_of(session, STREAM, END.position)).to_pylist()
    kept = [(row["kind"], row["lsn"]) for row in rows]
    assert kept == [(1, 3), (1, 11), (2, 1), (2, 2), (3, 5), (3, 12)]
    assert rows[1]["name"] == b"gone" and rows[1]["file_id"] is None


def test_reads_use_it_and_say_the_same(journal: PlainJournal) -> None:
    with Session(journal) as session:
        before = entries(session, STREAM, END.position), pieces(session, STREAM, END.position, [2])
        key = build_checkpoint(session, STREAM, END)
        assert build_checkpoint(session, STREAM, END) == key
    with Session(journal) as session:
        checkpoint = asof.as_of(session, STREAM, END.position).checkpoint
        assert checkpoint is not None and checkpoint.key == key
        assert (entries(session, STREAM, END.position), pieces(session, STREAM, END.position, [2])) == before
        assert asof.as_of(session, STREAM, Position(1, 10)).checkpoint is None


def test_events_before_it_may_be_damaged_and_those_after_it_may_not(journal: PlainJournal) -> None:
    with Session(journal) as session:
        build_checkpoint(session, STREAM, END)
        first = min(session.held.keys)
    journal.store.delete(first)
    with Session(journal) as session:
        assert [entry.path for entry in entries(session, STREAM, END.position)] == [b"/big"]
        with pytest.raises(Damaged, match="events 1 to 7 "):
            entries(session, STREAM, Position(1, 10))


def test_a_file_that_it_let_go_comes_back_from_the_segments(journal: PlainJournal) -> None:
    with Session(journal) as session:
        build_checkpoint(session, STREAM, END)
    journal.commit(AFTER)
    with Session(journal) as session:
        assert asof.as_of(session, STREAM, Position(1, 15)).checkpoint is None
        assert [entry.path for entry in entries(session, STREAM, Position(1, 15))] == [b"/back", b"/big"]


def test_a_damaged_or_foreign_checkpoint_is_passed_over(journal: PlainJournal) -> None:
    with Session(journal) as session:
        key = build_checkpoint(session, STREAM, END)
    path = journal.files.path(key)
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    with Session(journal) as session:
        assert asof.as_of(session, STREAM, END.position).checkpoint is None
    foreign = key.replace(STREAM, "0123456789abcdef")
    journal.store.put(foreign, content)
    [name] = checkpoints.checkpoints(journal, "0123456789abcdef")  # type: ignore[arg-type]
    with pytest.raises(Damaged, match="is not the one"):
        checkpoints.read_footer(journal, name)  # type: ignore[arg-type]


def test_nothing_is_written_while_events_are_missing(tmp_path: Path) -> None:
    journal = PlainJournal(tmp_path)
    journal.add_stream()
    journal.commit(HISTORY[:4])
    journal.commit(HISTORY[6:])
    with Session(journal) as session, pytest.raises(Damaged):
        build_checkpoint(session, STREAM, END)
    assert not checkpoints.checkpoints(journal, STREAM)  # type: ignore[arg-type]


def test_made_when_due(journal: PlainJournal) -> None:
    with Session(journal) as session:
        opened = session.epochs(STREAM)[1].opened_at
        assert make_due(session, opened + HOUR - 1) == []
        [key] = make_due(session, opened + HOUR)
        assert make_due(session, opened + 2 * HOUR) == []
    journal.commit(AFTER)
    with Session(journal) as session:
        assert make_due(session, 14 + HOUR) != []
    names = checkpoints.checkpoints(journal, STREAM)  # type: ignore[arg-type]
    assert [name.position.lsn for name in names] == [13, 15] and names[0].key == key


def test_many_files_are_joined_and_few_are_named(journal: PlainJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    with Session(journal) as session:
        named = pieces(session, STREAM, END.position, [2, 7, 12345])
        monkeypatch.setattr(extents, "IDS_IN_TEXT", 0)
        assert pieces(session, STREAM, END.position, [2, 7, 12345]) == named
        assert [len(found) for found in named.values()] == [2, 0, 0]
