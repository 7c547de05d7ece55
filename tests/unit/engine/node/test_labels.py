"""When a label was first set, as the journal has it."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from engine.journal.open import Journal
from engine.model.errors import Refused
from engine.model.events import Inode, Mark
from engine.model.ids import Address
from engine.node.desired import MarkRequest
from engine.node.labels import first_set, refuse_taken
from tests.unit.engine.query.plain_journal import PlainJournal


def test_the_earliest_of_any_source_counts(tmp_path: Path) -> None:
    journal = PlainJournal(tmp_path)
    one, other = journal.add_stream(), journal.add_stream(Address("finance", "db2", "files"))
    root = Inode(1, 1, 0, "d", 0o755, 0, 0, 0, 0)
    for stream, at in ((one, 50), (other, 40)):
        bookmarks = [Mark(3, at, "bookmark", "tonight", "quiet"), Mark(4, at + 20, "bookmark", "tonight", "quiet")]
        journal.commit([root, Mark(2, 2, "baseline", "", "quiet"), *bookmarks], stream=stream)
    there = cast(Journal, journal)
    assert first_set(there, [one, other], "tonight") == 40
    assert first_set(there, [one], "tonight") == 50
    assert first_set(there, [one, other], "baseline") is None
    with pytest.raises(Refused, match="1970-01-01T00:00:00"):
        refuse_taken("tonight", "finance", 40, [], now=100)


def test_what_nobody_waits_for_any_more_holds_no_name() -> None:
    asked = [MarkRequest("1", "5eed", "finance/db1/files", "tonight", until=90)]
    refuse_taken("tonight", "finance", None, asked, now=100)
    with pytest.raises(Refused, match="yet to set it"):
        refuse_taken("tonight", "finance", None, asked, now=80)
