"""A source is found by every name it had: the present one, the first one, and those in between."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from engine.journal import control
from engine.journal.open import Journal
from engine.model.errors import NothingThere
from engine.query.streams import find

from .plain_journal import ADDRESS, PlainJournal


def test_a_renamed_source_is_found_by_each_of_its_names(tmp_path: Path) -> None:
    plain = PlainJournal(tmp_path)
    journal = cast(Journal, plain)
    stream = plain.add_stream()
    assert find(journal, str(ADDRESS)).id == stream
    for base, group in enumerate(("finance", "money", "ledgers")):
        sources = {f"{group}/db1/files": {"stream": stream}, "young/db1/files": {"stream": "0" * 16}}
        control.follow(plain.store, control.POLICIES, base, {"sources": sources})
    for name in ("ledgers", "money", "finance"):
        assert find(journal, f"{name}/db1/files").id == stream
    with pytest.raises(NothingThere) as caught:
        find(journal, "ledger/db1/files")
    assert "ledgers/db1/files" in caught.value.hint
    with pytest.raises(NothingThere):
        find(journal, "young/db1/files")  # applied, and nothing of it has come yet
