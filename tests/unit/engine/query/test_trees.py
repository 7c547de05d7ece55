"""Trees as of a position: what is there, what was unlinked, hard links, strange names, what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.model.errors import Damaged, NothingThere
from engine.model.events import Dentry, Event, Inode, Mark
from engine.model.ids import Position
from engine.query.session import Session
from engine.query.tree import TREE, entries, stat, tree_table

from .plain_journal import STREAM, PlainJournal


def inode(lsn: int, file_id: int | None = None, type: str = "f", size: int = 0) -> Inode:
    return Inode(lsn, lsn, lsn if file_id is None else file_id, type, 0o644, 1, 2, size, 77)


HISTORY: list[Event] = [
    inode(1, 0, "d"),
    inode(2, type="d"),
    Dentry(3, 3, 0, b"srv", 2),
    inode(4, size=5),
    Dentry(5, 5, 2, b"a\xff\n", 4),
    Dentry(6, 6, 2, b"hard", 4),
    inode(7, type="d"),
    Dentry(8, 8, 2, b"sub", 7),
    inode(9),
    Dentry(10, 10, 7, b"x", 9),
    Mark(11, 11, "baseline"),
    Dentry(12, 12, 2, b"hard", None),
    Dentry(13, 13, 2, b"sub", None),
    Dentry(14, 14, 0, b"moved", 7),
    Dentry(15, 15, 7, b"never described", 3),
    Mark(16, 16, "pass"),
]


@pytest.fixture
def journal(tmp_path: Path) -> PlainJournal:
    journal = PlainJournal(tmp_path)
    journal.add_stream()
    journal.commit(HISTORY[:11])
    journal.commit(HISTORY[11:])
    return journal


def paths(session: Session, lsn: int, path: bytes = b"/", recursive: bool = True) -> list[bytes]:
    return [entry.path for entry in entries(session, STREAM, Position(1, lsn), path, recursive)]


def test_recursive_listing_at_two_positions(journal: PlainJournal) -> None:
    with Session(journal) as session:
        below = [b"/srv", b"/srv/a\xff\n", b"/srv/hard", b"/srv/sub", b"/srv/sub/x"]
        assert paths(session, 11) == below
        assert paths(session, 16) == [b"/moved", b"/moved/x", b"/srv", b"/srv/a\xff\n"]
        assert paths(session, 11, b"/srv/sub") == [b"/srv/sub/x"]


def test_listing_of_one_directory_and_of_a_file(journal: PlainJournal) -> None:
    with Session(journal) as session:
        assert paths(session, 11, b"/srv/", recursive=False) == [b"/srv/a\xff\n", b"/srv/hard", b"/srv/sub"]
        assert paths(session, 11, recursive=False) == [b"/srv"]
        assert paths(session, 11, b"/srv/hard") == [b"/srv/hard"]


def test_hard_links_are_one_inode_at_two_paths(journal: PlainJournal) -> None:
    with Session(journal) as session:
        first = stat(session, STREAM, Position(1, 11), b"/srv/a\xff\n")
        second = stat(session, STREAM, Position(1, 11), b"/srv/hard")
        assert first.inode == second.inode == HISTORY[3]


@pytest.mark.parametrize("path", [b"/nothing", b"/srv/hard", b"/srv/a\xff\n/x", b"/moved/never described"])
def test_unknown_and_unlinked_paths_are_not_there(journal: PlainJournal, path: bytes) -> None:
    with Session(journal) as session, pytest.raises(NothingThere):
        stat(session, STREAM, Position(1, 16), path)


def test_tables_hold_the_path_itself(journal: PlainJournal) -> None:
    with Session(journal) as session:
        table = tree_table(session, STREAM, Position(1, 11), b"/srv/sub")
        assert table.schema == TREE
        assert table["path"].to_pylist() == [b"/srv/sub", b"/srv/sub/x"]
        assert tree_table(session, STREAM, Position(1, 11))["path"].to_pylist()[0] == b"/"


def test_missing_events_are_named_and_nothing_is_handed_out(tmp_path: Path) -> None:
    journal = PlainJournal(tmp_path)
    journal.add_stream()
    journal.commit(HISTORY[:4])
    journal.commit(HISTORY[6:])
    with Session(journal) as session:
        with pytest.raises(Damaged, match="events 5 to 6 ") as caught:
            entries(session, STREAM, Position(1, 11))
        assert caught.value.details["missing"] == [[5, 6]]
        assert paths(session, 4) == [b"/srv"]
        with pytest.raises(Damaged, match="17 to 20"):
            entries(session, STREAM, Position(1, 20))


def test_an_object_merged_away_is_looked_for_again(journal: PlainJournal) -> None:
    with Session(journal) as session:
        [first, _] = sorted(session.held.keys)
        again = journal.commit(HISTORY[:11])
        journal.store.delete(first)
        assert paths(session, 11)
        assert again in session.held.keys and first not in session.held.keys


def test_commits_show_after_a_refresh(tmp_path: Path) -> None:
    journal = PlainJournal(tmp_path)
    journal.add_stream()
    with Session(journal) as session:
        journal.commit(HISTORY)
        session.refresh()
        assert paths(session, 11)
