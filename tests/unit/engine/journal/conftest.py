"""A journal to test with: a store, a committer, and a writer of one stream."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.journal.commit import Committer
from engine.journal.open import Journal, open_journal
from engine.store.base import Store
from engine.store.local import LocalStore

from .writers import MASTER_KEY, Writer


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return LocalStore(tmp_path / "journal")


@pytest.fixture
def journal(store: Store) -> Iterator[Journal]:
    with open_journal(store, MASTER_KEY, create=True) as journal:
        yield journal


@pytest.fixture
def committer(journal: Journal) -> Iterator[Committer]:
    with Committer(journal, "node-a") as committer:
        yield committer


@pytest.fixture
def writer(committer: Committer) -> Writer:
    return Writer(committer)
