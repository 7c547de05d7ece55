"""Finding names in all of the history."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.model.events import DataRef, Dentry, Event, Extent, Inode, Mark
from engine.model.extents import Piece
from engine.model.ids import Position
from engine.query.alike import search_alike
from engine.query.search import Wanted, search
from engine.query.session import Session
from engine.query.streams import StreamInfo

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
    found = search(session, Wanted("*.ods"))
    assert [(hit.path, hit.file_id, hit.first.lsn, hit.last, hit.gone) for hit in found] == [
        (b"/srv/q3.ods", 4, 9, Position(1, 9), True),
        (b"/srv/q3.ods", 7, 16, Position(1, 16), False),
        (b"/srv/q\xff.ods", 7, 9, Position(1, 16), False),
    ]
    assert found[0].address == ADDRESS and (found[0].at_first, found[0].at_last) == (90, 90)
    assert [hit.file_id for hit in search(session, Wanted("*.ods", deleted=True))] == [4]


def test_parts_paths_limits_and_sources(session: Session) -> None:
    assert [hit.file_id for hit in search(session, Wanted("q3"))] == [4, 7]
    assert [hit.path for hit in search(session, Wanted("/srv/q3*"))] == [b"/srv/q3.ods"] * 2
    assert search(session, Wanted("/other/*")) == []
    assert [hit.type for hit in search(session, Wanted("srv"))] == ["d"]
    assert len(search(session, Wanted(), limit=2)) == 2
    assert search(session, Wanted(), stream="0" * 16) == []
    assert len(search(session, Wanted("*.ods"), stream=STREAM)) == 3


def test_what_was_below_a_removed_directory_is_gone_with_it(tmp_path: Path) -> None:
    journal = PlainJournal(tmp_path)
    journal.add_stream()
    below: list[Event] = [
        inode(17, "d"),
        Dentry(18, 97, 2, b"2024", 17),
        inode(19, "d"),
        Dentry(20, 98, 17, b"q4", 19),
        inode(21, size=3),
        Dentry(22, 99, 19, b"inv.txt", 21),
        Mark(23, 100, "pass", "", "quiet"),
        Dentry(24, 101, 2, b"2024", None),  # the only event that tells of it
        Mark(25, 102, "pass", "", "quiet"),
        inode(26, "d"),
        Dentry(27, 103, 2, b"2024", 26),
        inode(28, size=3),
        Dentry(29, 104, 26, b"inv.txt", 28),
        Mark(30, 105, "pass", "", "quiet"),
    ]
    journal.commit([*HISTORY, *below])
    session = Session(journal)
    assert [(hit.path, hit.last.lsn, hit.gone) for hit in search(session, Wanted("inv*"))] == [
        (b"/srv/2024/inv.txt", 30, False),
        (b"/srv/2024/q4/inv.txt", 23, True),
    ]
    deleted = [hit.path for hit in search(session, Wanted(deleted=True)) if hit.first.lsn > 16]
    assert deleted == [b"/srv/2024", b"/srv/2024/q4", b"/srv/2024/q4/inv.txt"]


def test_sizes_and_times(session: Session) -> None:
    assert {hit.file_id for hit in search(session, Wanted("*.ods", size_min=6))} == {7}
    assert {hit.file_id for hit in search(session, Wanted("*", size_max=6))} == {4}
    assert {hit.file_id for hit in search(session, Wanted("q3*", from_at=95))} == {7}
    assert {hit.file_id for hit in search(session, Wanted("q3*", to_at=93))} == {4}


def written(lsn: int, content: int, offset: int = 0, length: int = 5) -> Extent:
    return Extent(lsn, lsn, 2, offset, length, DataRef("packs/p", content, 9, 0), bytes([content]) * 16)


VERSIONS: list[Event] = [
    Inode(1, 1, 0, "d", 0o755, 0, 0, 0, 1),
    inode(2, size=5),
    written(3, 1),
    Dentry(4, 4, 0, b"file", 2),
    Mark(5, 50, "baseline", "", "quiet"),
    written(6, 2),
    Mark(7, 70, "pass", "", "quiet"),
    Mark(8, 80, "pass", "", "quiet"),
    written(9, 3),
    written(10, 1),
    Dentry(11, 11, 0, b"file", None),
    Dentry(12, 12, 0, b"other", 2),
    Mark(13, 130, "pass", "", "quiet"),
    Inode(14, 14, 2, "f", 0o644, 1, 2, 7, 77),
    written(15, 4, 5, 2),
    Mark(16, 160, "pass", "", "quiet"),
    written(17, 5, 1, 3),
    Mark(18, 180, "pass", "", "quiet"),
    Dentry(19, 19, 0, b"other", None),
    Mark(20, 200, "pass", "", "quiet"),
]
"""/file holds 1, then 2; /other holds 1 (3 was never at a point), then 1 and 4, then 1, 5, 1, 4; then it is gone."""


def test_every_version_is_found_by_its_content_between_its_points(tmp_path: Path) -> None:
    journal = PlainJournal(tmp_path)
    journal.add_stream()
    journal.commit(VERSIONS)
    judged: list[tuple[int, ...]] = []

    def contents(pieces: Sequence[Piece]) -> tuple[int, ...]:
        return tuple(piece.hash[0] for piece in pieces)

    def found(wanted: tuple[int, ...], **more: Any) -> list[tuple[bytes, int, int, bool]]:
        def judge(info: StreamInfo, pieces: Sequence[Piece], size: int) -> bool:
            assert info.id == STREAM and sum(piece.length for piece in pieces) == size
            judged.append(contents(pieces))
            return contents(pieces) == wanted

        hits = search_alike(session, Wanted(**more), judge)
        return [(hit.path, hit.first.lsn, hit.last.lsn, hit.gone) for hit in hits]

    with Session(journal) as session:
        assert found((1,)) == [(b"/file", 5, 5, True), (b"/other", 13, 13, True)]
        assert len(judged) == len(set(judged)) == 4, "each content is judged once, and none that no point has"
        assert found((2,)) == [(b"/file", 7, 8, True)]
        assert found((3,)) == []
        assert found((1, 4)) == [(b"/other", 16, 16, True)]
        assert found((1, 5, 1, 4)) == [(b"/other", 18, 18, True)]
        assert found((1,), size_min=6) == [] and found((1,), size_max=5, pattern="oth") == [(b"/other", 13, 13, True)]
        assert found((2,), from_at=81) == [] and found((2,), to_at=69) == [] and found((2,), from_at=80, to_at=70) != []
