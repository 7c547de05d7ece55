"""Local paths for any store: fetched once, bounded, held while in use."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine.store.base import Missing
from engine.store.cached import LocalView
from engine.store.faults import FaultyStore, before
from engine.store.local import LocalStore
from engine.store.memory import MemoryStore


@pytest.fixture
def store() -> FaultyStore:
    store = FaultyStore(MemoryStore())
    for name in "abcdef":
        store.put(f"L1/{name}", name.encode() * 100)
    return store


def gets(store: FaultyStore) -> list[str]:
    return [key for method, key in store.calls if method == "get"]


def files(directory: Path) -> set[str]:
    return {path.name for path in directory.rglob("*") if path.is_file()}


def test_a_local_store_gives_its_own_files(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    store.put("L1/a", b"1")
    view = LocalView(store, tmp_path / "cache")
    assert view.path("L1/a") == store.local_path("L1/a")
    assert files(tmp_path / "cache") == set()


def test_an_object_is_fetched_once(store: FaultyStore, tmp_path: Path) -> None:
    view = LocalView(store, tmp_path)
    assert view.path("L1/a").read_bytes() == b"a" * 100
    assert view.path("L1/a") == view.path("L1/a")
    assert gets(store) == ["L1/a"]
    assert view.bytes_cached == 100


def test_those_go_first_that_were_used_longest_ago(store: FaultyStore, tmp_path: Path) -> None:
    view = LocalView(store, tmp_path, bytes_max=300)
    for key in ("L1/a", "L1/b", "L1/c", "L1/a", "L1/d"):
        view.path(key)
    assert files(tmp_path) == {"a", "c", "d"}
    assert view.bytes_cached == 300
    assert view.path("L1/b").read_bytes() == b"b" * 100
    assert files(tmp_path) == {"a", "b", "d"}


def test_what_is_held_stays(store: FaultyStore, tmp_path: Path) -> None:
    view = LocalView(store, tmp_path, bytes_max=200)
    with view.holding(["L1/a", "L1/b", "L1/c"]) as paths:
        view.path("L1/d")
        assert [path.read_bytes()[:1] for path in paths] == [b"a", b"b", b"c"]
        with view.holding(["L1/a"]):
            pass
        assert paths[0].exists()
    assert view.bytes_cached <= 200


def test_one_object_larger_than_the_bound(store: FaultyStore, tmp_path: Path) -> None:
    view = LocalView(store, tmp_path, bytes_max=50)
    assert view.path("L1/a").read_bytes() == b"a" * 100
    assert view.path("L1/b").read_bytes() == b"b" * 100
    assert files(tmp_path) == {"b"}


def test_the_next_process_takes_over(store: FaultyStore, tmp_path: Path) -> None:
    first = LocalView(store, tmp_path)
    for at, key in enumerate(("L1/a", "L1/b", "L1/c")):
        os.utime(first.path(key), (at, at))
    (tmp_path / "objects" / "L1" / ".0123456789abcdef").write_bytes(b"half")
    second = LocalView(store, tmp_path, bytes_max=200)
    assert files(tmp_path) == {"b", "c"}
    assert second.path("L1/b").read_bytes() == b"b" * 100
    assert gets(store) == ["L1/a", "L1/b", "L1/c"]


def test_a_cleared_cache_is_filled_again(store: FaultyStore, tmp_path: Path) -> None:
    view = LocalView(store, tmp_path)
    view.path("L1/a").unlink()
    assert view.path("L1/a").read_bytes() == b"a" * 100
    assert view.bytes_cached == 100


def test_a_failed_fetch_leaves_nothing_and_is_tried_again(store: FaultyStore, tmp_path: Path) -> None:
    view = LocalView(store, tmp_path)
    store.queue("get", before(OSError("gone")))
    with pytest.raises(OSError, match="gone"):
        view.path("L1/a")
    with pytest.raises(Missing):
        view.path("L1/none")
    assert (files(tmp_path), view.bytes_cached) == (set(), 0)
    assert view.path("L1/a").read_bytes() == b"a" * 100


def test_threads_share_a_fetch(store: FaultyStore, tmp_path: Path) -> None:
    view = LocalView(store, tmp_path)
    barrier = threading.Barrier(6)

    def ask(_: int) -> bytes:
        barrier.wait(120)
        return view.path("L1/a").read_bytes()

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(ask, range(6))) == {b"a" * 100}
    assert view.bytes_cached == 100
    assert files(tmp_path) == {"a"}
