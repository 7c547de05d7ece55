"""The oracle itself, by hand: small histories whose outcome everyone can see."""

from __future__ import annotations

from engine.model.events import ROOT_ID, DataRef, Dentry, Extent, Inode
from engine.model.fold import fold, tree


def inode(lsn: int, file_id: int | None = None, type: str = "f", size: int = 0) -> Inode:
    return Inode(lsn, 0, lsn if file_id is None else file_id, type, 0o644, 0, 0, size, 0)


def data(frame: int) -> DataRef:
    return DataRef("packs/a", frame, 100, 0)


def test_names_inodes_and_bytes_at_each_position() -> None:
    events = [
        inode(1, ROOT_ID, "d"),
        inode(2, type="d"),
        Dentry(3, 0, ROOT_ID, b"srv", 2),
        inode(4, size=10),
        Dentry(5, 0, 2, b"a", 4),
        Extent(6, 0, 4, 0, 10, data(1)),
        Extent(7, 0, 4, 3, 4, data(2)),
        Dentry(8, 0, 2, b"a", None),
        Dentry(9, 0, 2, b"b", 4),
    ]
    assert set(tree(fold(events, 6))) == {b"/", b"/srv", b"/srv/a"}
    assert set(tree(fold(events))) == {b"/", b"/srv", b"/srv/b"}
    pieces = tree(fold(events))[b"/srv/b"].pieces
    assert [(p.offset, p.length, p.data.frame if p.data else None, p.skip) for p in pieces] == [
        (0, 3, 1, 0),
        (3, 4, 2, 0),
        (7, 3, 1, 7),
    ]


def test_what_was_cut_off_does_not_come_back() -> None:
    events = [
        inode(1, size=10),
        Dentry(2, 0, ROOT_ID, b"f", 1),
        Extent(3, 0, 1, 0, 10, data(1)),
        inode(4, 1, size=4),
        Extent(5, 0, 1, 4, 6, None),
        inode(6, 1, size=10),
    ]
    pieces = tree(fold(events))[b"/f"].pieces
    assert [(p.offset, p.length) for p in pieces] == [(0, 4)]


def test_events_in_any_order_and_twice() -> None:
    events = [inode(1, size=3), Dentry(2, 0, ROOT_ID, b"f", 1), Extent(3, 0, 1, 0, 3, data(1))]
    assert tree(fold([*reversed(events), *events])) == tree(fold(events))


def test_a_directory_inside_itself_ends_the_walk() -> None:
    events = [inode(1, type="d"), Dentry(2, 0, ROOT_ID, b"d", 1), Dentry(3, 0, 1, b"again", 1)]
    assert set(tree(fold(events))) == {b"/d", b"/d/again"}
