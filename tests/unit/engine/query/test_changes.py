"""Differences between two points, and the versions of a path."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.model.errors import Damaged, NothingThere
from engine.model.events import DataRef, Dentry, Event, Extent, Inode, Mark, Record
from engine.model.ids import Address, Position
from engine.model.lineage import Epoch, Span, common_lsn
from engine.query.diff import diff
from engine.query.session import Session
from engine.query.timeline import versions

from .plain_journal import STREAM, PlainJournal


def inode(lsn: int, file_id: int | None = None, type: str = "f", size: int = 0, mode: int = 0o644) -> Inode:
    return Inode(lsn, lsn, lsn if file_id is None else file_id, type, mode, 1, 2, size, 77)


def extent(lsn: int, file_id: int, length: int, content: int) -> Extent:
    return Extent(lsn, lsn, file_id, 0, length, DataRef("packs/p", lsn, 9, 0), bytes([content]) * 16)


HISTORY: list[Event] = [
    inode(1, 0, "d"),
    inode(2, type="d"),
    Dentry(3, 3, 0, b"d", 2),
    inode(4, size=5),
    extent(5, 4, 5, 1),
    Dentry(6, 6, 2, b"file", 4),
    inode(7, size=1),
    Dentry(8, 8, 2, b"stays", 7),
    inode(9, size=1),
    Dentry(10, 10, 2, b"goes", 9),
    Mark(11, 11, "baseline", "", "quiet"),
    extent(12, 4, 5, 2),
    inode(13, 7, size=1, mode=0o600),
    Mark(14, 14, "pass", "", "quiet"),
    extent(15, 4, 5, 2),
    Mark(16, 16, "pass", "", "quiet"),
    Dentry(17, 17, 2, b"goes", None),
    Dentry(18, 18, 0, b"d", None),
    Dentry(19, 19, 0, b"e", 2),
    inode(20),
    Dentry(21, 21, 2, b"new\xff", 20),
    Mark(22, 22, "pass", "", "quiet"),
]


@pytest.fixture
def session(tmp_path: Path) -> Session:
    journal = PlainJournal(tmp_path)
    journal.add_stream()
    journal.commit(HISTORY[:12])
    journal.commit(HISTORY[12:])
    return Session(journal)


def changes(session: Session, left: int, right: int, path: bytes = b"/") -> list[tuple[object, ...]]:
    found = diff(session, STREAM, Position(1, left), Position(1, right), path)
    return [(c.kind, c.old_path, c.path, c.content, c.attributes) for c in found]


def test_content_and_attributes_that_changed(session: Session) -> None:
    expected = [("changed", None, b"/d/file", True, False), ("changed", None, b"/d/stays", False, True)]
    assert changes(session, 11, 14) == expected
    assert changes(session, 14, 11) == expected
    assert changes(session, 11, 14, b"/d/stays") == expected[1:]


def test_bytes_written_again_as_they_were_are_no_change(session: Session) -> None:
    assert changes(session, 14, 16) == []
    assert changes(session, 16, 16) == []


def test_renames_additions_and_removals(session: Session) -> None:
    assert changes(session, 16, 22) == [
        ("removed", None, b"/d/goes", False, False),
        ("renamed", b"/d", b"/e", False, False),
        ("renamed", b"/d/file", b"/e/file", False, False),
        ("added", None, b"/e/new\xff", False, False),
        ("renamed", b"/d/stays", b"/e/stays", False, False),
    ]
    assert changes(session, 16, 22, b"/d/goes") == [("removed", None, b"/d/goes", False, False)]
    with pytest.raises(NothingThere):
        changes(session, 16, 22, b"/never")


def test_branches_differ_from_where_they_part(tmp_path: Path) -> None:
    journal = PlainJournal(tmp_path)
    first, second = Epoch(1, None, "first", "a", 1), Epoch(2, Position(1, 11), "another writer", "b", 2)
    journal.add_stream(epochs=[first, second])
    journal.commit(HISTORY[:16])
    journal.commit([extent(12, 4, 5, 3), Mark(13, 60, "pass", "", "quiet")], epoch=2)
    with Session(journal) as session:
        found = diff(session, STREAM, Position(1, 14), Position(2, 13))
        assert [(c.path, c.content, c.attributes) for c in found] == [
            (b"/d/file", True, False),
            (b"/d/stays", False, True),
        ]
    assert common_lsn((Span(1, 1, 14),), (Span(1, 1, 11), Span(2, 12, 13))) == 11


def test_versions_of_a_path(session: Session) -> None:
    found = versions(session, STREAM, b"/d/file")
    assert [(v.position.lsn, v.change, v.size, v.other) for v in found] == [
        (11, "created", 5, None),
        (14, "changed", 5, None),
        (22, "renamed to", None, b"/e/file"),
    ]
    [only] = versions(session, STREAM, b"/e/file", follow=False)
    assert (only.position.lsn, only.change, only.other) == (22, "renamed from", b"/d/file")
    assert [(v.position.lsn, v.change, v.path) for v in versions(session, STREAM, b"/e/file")] == [
        (11, "created", b"/d/file"),
        (14, "changed", b"/d/file"),
        (22, "renamed from", b"/e/file"),
    ]
    assert [(v.change, v.mode) for v in versions(session, STREAM, b"/d/stays")][:2] == [
        ("created", 0o644),
        ("attributes", 0o600),
    ]
    assert [(v.at, v.change) for v in versions(session, STREAM, b"/d/goes")] == [(11, "created"), (22, "removed")]
    with pytest.raises(NothingThere, match="never was"):
        versions(session, STREAM, b"/d/never")


def test_a_file_that_was_renamed_twice_is_followed_and_no_other_of_its_name(tmp_path: Path) -> None:
    journal = PlainJournal(tmp_path)
    journal.add_stream()
    history: list[Event] = [
        inode(1, 0, "d"),
        inode(2, size=1),
        Dentry(3, 3, 0, b"a", 2),
        Mark(4, 4, "baseline", "", "quiet"),
        Dentry(5, 5, 0, b"a", None),
        Mark(6, 6, "pass", "", "quiet"),
        inode(7, size=2),
        Dentry(8, 8, 0, b"a", 7),
        Mark(9, 9, "pass", "", "quiet"),
        Dentry(10, 10, 0, b"a", None),
        Dentry(11, 11, 0, b"b", 7),
        Mark(12, 12, "pass", "", "quiet"),
        Dentry(13, 13, 0, b"b", None),
        Dentry(14, 14, 0, b"a", 7),
        Mark(15, 15, "pass", "", "quiet"),
        Dentry(16, 16, 0, b"a", None),
        Dentry(17, 17, 0, b"c", 7),
        Mark(18, 18, "pass", "", "quiet"),
    ]
    journal.commit(history)
    with Session(journal) as session:
        found = versions(session, STREAM, b"/c")
    assert [(v.position.lsn, v.change, v.path, v.other, v.size) for v in found] == [
        (9, "created", b"/a", None, 2),
        (12, "renamed from", b"/b", b"/a", 2),
        (15, "renamed from", b"/a", b"/b", 2),
        (18, "renamed from", b"/c", b"/a", 2),
    ]
    assert {(v.mtime_ns, v.uid, v.gid) for v in found} == {(77, 1, 2)}


def test_who_brought_a_version_back_is_known_and_nobody_else(tmp_path: Path) -> None:
    journal = PlainJournal(tmp_path)
    journal.add_stream()
    journal.commit(
        [
            inode(1, 0, "d"),
            inode(2, size=1),
            Dentry(3, 3, 0, b"a", 2),
            Mark(4, 10, "baseline", "", "quiet"),
            inode(5, 2, size=2),
            Mark(6, 20, "pass", "", "quiet"),
            Mark(7, 30, "bookmark", "before-restore-1"),
            inode(8, 2, size=1),
            Mark(9, 40, "pass", "", "quiet"),
            inode(10, 2, size=3),
            Mark(11, 50_000_000, "pass", "", "quiet"),
        ]
    )
    audit = journal.add_stream(Address("_audit", "n1", "acts"))
    details = {"stream": STREAM, "in_place": True, "undo": "mark:before-restore-1"}
    acts = [
        {"who": "alice", "details": details},
        {"who": "bob", "details": {**details, "stream": "another"}},
        {"who": "carol", "details": {**details, "in_place": False}},
    ]
    journal.commit(
        [Record(lsn, 45, "restore", json.dumps(act)) for lsn, act in enumerate(acts, 1)]
        + [Record(4, 46, "restore", "{")],
        stream=audit,
    )
    with Session(journal) as session:
        found = versions(session, STREAM, b"/a")
    assert [(v.size, v.restored_by) for v in found] == [(1, ""), (2, ""), (1, "alice"), (3, "")]


def test_a_missing_segment_shows_in_the_versions_of_a_path(tmp_path: Path) -> None:
    journal = PlainJournal(tmp_path)
    journal.add_stream()
    journal.commit(HISTORY[:12])
    lost = journal.commit(HISTORY[12:16])
    journal.commit(HISTORY[16:])
    journal.store.delete(lost)
    with Session(journal) as session, pytest.raises(Damaged, match="events 13 to 16"):
        versions(session, STREAM, b"/d/stays")
