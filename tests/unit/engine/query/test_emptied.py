"""Whoever asks for the newest state of a source that lost everything is told what it held last."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.model.errors import NothingThere
from engine.model.events import Dentry, Event, Inode, Mark
from engine.model.ids import Position
from engine.query.listing import listing
from engine.query.session import Session

from .plain_journal import STREAM, PlainJournal

SRV, FINANCE = b"/srv", b"/srv/finance"
HISTORY: list[Event] = [
    Inode(1, 1, 0, "d", 0o755, 0, 0, 0, 1),
    Inode(2, 2, 2, "d", 0o755, 0, 0, 0, 1),
    Dentry(3, 3, 0, b"srv", 2),
    Inode(4, 4, 4, "d", 0o755, 0, 0, 0, 1),
    Dentry(5, 5, 2, b"finance", 4),
    Mark(6, 60, "baseline", "", "quiet"),
    Mark(7, 70, "pass", "", "quiet"),
    Dentry(8, 80, 2, b"finance", None),
    Mark(9, 90, "pass", "", "quiet"),
    Mark(10, 100, "pass", "", "quiet"),
]


@pytest.fixture
def session(tmp_path: Path) -> Session:
    journal = PlainJournal(tmp_path)
    journal.add_stream()
    journal.commit(HISTORY)
    return Session(journal)


def test_the_last_point_that_held_it_is_named(session: Session) -> None:
    with pytest.raises(NothingThere, match=r"no /srv/finance at point:1\.10") as refused:
        listing(session, STREAM, Position(1, 10), None, (FINANCE,))
    assert refused.value.details["before"] == {"point": "1.7", "at": "1970-01-01T00:00:00.000070Z"}
    assert "--at point:1.7" in (refused.value.hint or "")


def test_of_what_never_was_there_nothing_is_named(session: Session) -> None:
    with pytest.raises(NothingThere) as refused:
        listing(session, STREAM, Position(1, 7), None, (b"/srv/other",))
    assert not refused.value.details
