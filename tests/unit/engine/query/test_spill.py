"""What a session can't hold in memory goes to a directory of its own, and goes away with it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.query.session import Session
from tests.unit.engine.query.plain_journal import PlainJournal


def test_nothing_is_spilled_where_the_user_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, temporary = tmp_path / "here", tmp_path / "temporary"
    for directory in (here, temporary):
        directory.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    journal = PlainJournal(tmp_path / "journal")
    with Session(journal, memory="100MB") as session:  # type: ignore[arg-type]
        # A sort that is kept as a table, larger than the memory that the session may use.
        session.rows("create table kept as select i, md5(i::varchar) as t from range(3000000) r(i) order by t")
        rows = session.rows("select count(*) from kept")
        assert rows == [(3_000_000,)]
        [spill] = temporary.iterdir()
        assert os.listdir(spill), "the test must be large enough to spill"
        assert os.listdir(here) == []
    assert os.listdir(temporary) == []
