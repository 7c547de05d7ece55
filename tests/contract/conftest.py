"""Every store that there is, for the tests of what they all promise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.store.base import Store
from engine.store.faults import FaultyStore
from engine.store.local import LocalStore
from engine.store.memory import MemoryStore

MAKERS: dict[str, Callable[[Path], Store]] = {
    "local": LocalStore,
    "memory": lambda _: MemoryStore(),
    "faulty": lambda root: FaultyStore(LocalStore(root)),
}


@pytest.fixture(params=sorted(MAKERS))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return MAKERS[request.param](tmp_path / "store")
