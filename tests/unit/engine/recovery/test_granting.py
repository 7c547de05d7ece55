"""Grants of restores: one beginning, one end, and only this site's own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from engine.journal import documents
from engine.journal.open import Journal, open_journal
from engine.model.errors import Damaged
from engine.recovery.granting import CANCELLED, DONE, End, Grant, close, new_id, open_grant, open_ones, read
from engine.store.base import AlreadyThere, Missing
from engine.store.local import LocalStore

GRANT = Grant(
    "0" * 16, "g/a/files", "s" * 16, "1.9", 5, "quiet", None, "/srv", "b", "/srv/caf\udce9", True, "ann", "here", 7,
    ["user", "ann", "t"],
)  # fmt: skip


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with open_journal(LocalStore(tmp_path), bytes(range(32)), create=True) as journal:
        yield journal


def test_a_grant_holds_until_its_first_end(journal: Journal) -> None:
    open_grant(journal, GRANT)
    assert open_ones(journal) == [GRANT] and read(journal, GRANT.id) == (GRANT, None)
    with pytest.raises(AlreadyThere):
        open_grant(journal, replace(GRANT, host="c"))
    end = End(DONE, 9, "agent b", {"files": 1})
    assert close(journal, GRANT.id, end)
    assert not close(journal, GRANT.id, End(CANCELLED, 10, "ann"))
    assert open_ones(journal) == [] and read(journal, GRANT.id) == (GRANT, end)
    with pytest.raises(Missing):
        read(journal, new_id())


def test_what_this_site_did_not_write_grants_nothing(journal: Journal) -> None:
    open_grant(journal, GRANT)
    other = "1" * 16
    copied = journal.store.get(f"control/restores/{GRANT.id}/00000001.json")
    journal.store.put(f"control/restores/{other}/00000001.json", copied)
    third = "2" * 16
    documents.put(journal.store, f"control/restores/{third}/00000001.json", {**asdict(GRANT), "number": 1, "of": 1})
    assert open_ones(journal) == [GRANT]
    for id in (other, third):
        with pytest.raises(Damaged):
            read(journal, id)
