"""Finding names in all of the history."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.model.events import DataRef, Dentry, Event, Extent, Inode, Mark
from engine.model.ids import Position
from engine.query.search import search
from engine.query.session import Session

from .plain_journal import ADDRESS, STREAM, PlainJournal

DIGEST = bytes(range(16))


def inode(lsn: int, type: str = "f", size: int = 0) -> Inode:
    return Inode(lsn, lsn, lsn, type, 0o644, 1, 2, size, 77)


HISTORY: list[Event] = [
    Inode(1, 1, 0, "d", 0o755, 0, 0, 0, 1),
    inode(2, "d"),
    Dentry(3, 3, 0, b"srv", 2),
    inode(4, size=5),
    Extent(5, 5, 4, 0, 5, DataRef("packs/p", 0, 9, 0), DIGEST),
    Dentry(6, 6, 2, b"q3.ods", 4),
    inode(7, size=50),
    Dentry(8, 8, 2, b"q\xff.ods", 7),
    Mark(9, 90, "baseline", "", "quiet"),
    Dentry(10, 91, 2, b"q3.ods", None),
    inode(11),
    Dentry(12, 92, 2, b"never at a point.ods", 11),
    Dentry(13, 93, 2, b"never at a point.ods", None),
    Mark(14, 94, "pass", "", "quiet"),
    Dentry(15, 95, 2, b"q3.ods", 7),
    Mark(16, 96, "pass", "", "quiet"),
]


@pytest.fixture
def session(tmp_path: Path) -> Session:
    journal = PlainJournal(tmp_path)
    journal.add_stream()
    journal.commit(HISTORY)
    return Session(journal)


def test_names_deleted_ones_too(session: Session) -> None:
    found = search(session, "*.ods")
    assert [(hit.path, hit.file_id, hit.first.lsn, hit.last, hit.gone) for hit in found] == [
        (b"/srv/q3.ods", 4, 9, Position(1, 9), True),
        (b"/srv/q3.ods", 7, 16, Position(1, 16), False),
        (b"/srv/q\xff.ods", 7, 9, Position(1, 16), False),
    ]
    assert found[0].address == ADDRESS and (found[0].at_first, found[0].at_last) == (90, 90)


def test_parts_paths_limits_and_sources(session: Session) -> None:
    assert [hit.file_id for hit in search(session, "q3")] == [4, 7]
    assert [hit.path for hit in search(session, "/srv/q3*")] == [b"/srv/q3.ods"] * 2
    assert search(session, "/other/*") == []
    assert [hit.type for hit in search(session, "srv")] == ["d"]
    assert len(search(session, "*", limit=2)) == 2
    assert search(session, "*", stream="0" * 16) == []
    assert len(search(session, "*.ods", stream=STREAM)) == 3


def test_sizes_times_and_content(session: Session) -> None:
    assert {hit.file_id for hit in search(session, "*.ods", size_min=6)} == {7}
    assert {hit.file_id for hit in search(session, "*.ods", size_max=6)} == {4}
    assert {hit.file_id for hit in search(session, "q3*", from_at=95)} == {7}
    assert {hit.file_id for hit in search(session, "q3*", to_at=93)} == {4}
    assert [hit.file_id for hit in search(session, "*", content=DIGEST)] == [4]
