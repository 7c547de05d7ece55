"""Which paths of a tree hold older bytes, since their agent could not read what was there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.model.events import Dentry, Inode, Mark, Record
from engine.model.ids import Position
from engine.query.session import Session
from engine.query.tree import as_entries, tree_table
from engine.query.unreadable import Stale, stale

from .plain_journal import STREAM, PlainJournal


def record(lsn: int, at: int, path: str, reason: str = "Permission denied") -> Record:
    return Record(lsn, at, "unreadable", json.dumps({"path": path, "errno": 13, "reason": reason}))


@pytest.fixture
def journal(tmp_path: Path) -> PlainJournal:
    journal = PlainJournal(tmp_path)
    journal.add_stream()
    journal.commit(
        [
            Inode(1, 1, 1, "f", 0o644, 0, 0, 0, 1),
            Dentry(2, 1, 0, b"a", 1),
            Inode(3, 1, 3, "f", 0o644, 0, 0, 0, 1),
            Dentry(4, 1, 0, b"caf\xe9", 3),
            record(5, 10, "/a"),
            Mark(6, 11, "baseline", point_class="quiet"),
            record(7, 20, "/caf\\xe9", "Input/output error"),
            record(8, 21, "/gone"),
            Record(9, 21, "unreadable", "no JSON"),
            Record(10, 21, "other", json.dumps({"path": "/a", "reason": "x"})),
            Mark(11, 22, "pass", point_class="quiet"),
            Inode(12, 30, 1, "f", 0o644, 0, 0, 0, 2),
            Mark(13, 31, "pass", point_class="quiet"),
        ]
    )
    return journal


def found(journal: PlainJournal, lsn: int) -> list[Stale]:
    position = Position(1, lsn)
    with Session(journal) as session:  # type: ignore[arg-type]
        entries = [(each.path, each.inode) for each in as_entries(tree_table(session, STREAM, position))]
        return stale(session, STREAM, position, entries)


def test_what_could_not_be_read_by_then_is_told_with_its_time(journal: PlainJournal) -> None:
    assert found(journal, 6) == [Stale(b"/a", 10, "Permission denied")]
    other = Stale(b"/caf\xe9", 20, "Input/output error")
    assert found(journal, 11) == [Stale(b"/a", 10, "Permission denied"), other]


def test_what_was_read_again_is_not(journal: PlainJournal) -> None:
    assert [each.path for each in found(journal, 13)] == [b"/caf\xe9"]
