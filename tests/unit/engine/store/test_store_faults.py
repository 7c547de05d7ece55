"""The faulty double fails as told and not otherwise."""

from __future__ import annotations

import pytest

from engine.store.base import AlreadyThere, Item, Missing
from engine.store.faults import PASS, FaultyStore, after, before, changed, flipped, truncated
from engine.store.memory import MemoryStore


@pytest.fixture
def store() -> FaultyStore:
    return FaultyStore(MemoryStore())


def test_before_has_no_effect(store: FaultyStore) -> None:
    store.queue("put", before(OSError("gone")))
    with pytest.raises(OSError, match="gone"):
        store.put("a", b"1")
    with pytest.raises(Missing):
        store.get("a")
    store.put("a", b"1")


def test_after_has_its_effect(store: FaultyStore) -> None:
    store.queue("put", after(OSError("answer lost")))
    with pytest.raises(OSError, match="answer lost"):
        store.put("a", b"1")
    assert store.get("a") == b"1"
    with pytest.raises(AlreadyThere):
        store.put("a", b"1")


def test_faults_come_in_order_to_their_method_only(store: FaultyStore) -> None:
    store.put("a", b"abc")
    store.queue("get", PASS, truncated(2), flipped(1), before(OSError()))
    assert store.size("a") == 3
    assert store.get("a") == b"abc"
    assert store.get("a") == b"a"
    assert store.get("a") == b"acc"
    with pytest.raises(OSError):
        store.get("a")
    assert store.get("a") == b"abc"


def test_uploads_and_listings(store: FaultyStore) -> None:
    store.queue("write", PASS, before(OSError("full")))
    store.queue("commit", after(OSError("answer lost")))
    store.queue("list", truncated(), changed(lambda items: items[::-1]))
    with store.open_put("a") as upload:
        upload.write(b"1")
        with pytest.raises(OSError, match="full"):
            upload.write(b"2")
        with pytest.raises(OSError, match="answer lost"):
            upload.commit()
    store.put("b", b"22")
    assert list(store.list("")) == [Item("a", 1)]
    assert list(store.list("")) == [Item("b", 2), Item("a", 1)]
    assert list(store.list("")) == [Item("a", 1), Item("b", 2)]


@pytest.mark.parametrize("lasting", [False, True])
def test_the_nth_call(store: FaultyStore, lasting: bool) -> None:
    store.put("a", b"1")
    store.at_call(3, before(OSError()), lasting=lasting)
    outcomes = []
    for _ in range(5):
        try:
            outcomes.append(store.get("a"))
        except OSError:
            outcomes.append(b"failed")
    rest = b"failed" if lasting else b"1"
    assert outcomes == [b"1", b"1", b"failed", rest, rest]
    store.heal()
    assert store.get("a") == b"1"
    assert store.calls == [("put", "a")] + [("get", "a")] * 6


def test_an_unknown_method(store: FaultyStore) -> None:
    with pytest.raises(ValueError, match="no method 'rename'"):
        store.queue("rename", PASS)
