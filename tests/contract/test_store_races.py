"""Stores that several threads and processes use at once, and processes that are killed while they write."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine.store.base import AlreadyThere, Store
from engine.store.local import LocalStore


def keys(store: Store) -> list[str]:
    return [item.key for item in store.list("d/")]


def race(count: int, act: Callable[[int], object]) -> list[object]:
    """act(0..count-1) in threads that start together; an exception counts as a result."""
    barrier = threading.Barrier(count)

    def run(number: int) -> object:
        barrier.wait(120)
        try:
            return act(number)
        except AlreadyThere as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def test_one_thread_wins(store: Store) -> None:
    for number in range(15):
        key = f"race/{number}/object"

        def create(who: int, key: str = key) -> object:
            if who % 2:
                store.put(key, b"%d" % who)
            else:
                with store.open_put(key) as upload:
                    upload.write(b"%d" % who)
                    upload.commit()
            return who

        results = race(6, create)
        winners = [result for result in results if isinstance(result, int)]
        assert len(winners) == 1, results
        assert store.get(key) == b"%d" % winners[0]


def test_a_listing_has_all_that_was_there(store: Store) -> None:
    there = [f"d/{number:04d}" for number in range(0, 200, 2)]
    for key in there:
        store.put(key, b"")

    def act(who: int) -> object:
        if who == 0:
            for number in range(1, 200, 2):
                store.put(f"d/{number:04d}", b"")
            return []
        return [keys(store) for _ in range(20)]

    for listings in race(3, act):
        for listing in listings:  # type: ignore[attr-defined]
            assert listing == sorted(listing)
            assert set(there) <= set(listing)
    assert len(keys(store)) == 200


CREATE_ALL = """
import sys
from engine.store.base import AlreadyThere
from engine.store.local import LocalStore
store = LocalStore(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for number in range(60):
    try:
        store.put(f"race/{number % 7}/{number}", sys.argv[2].encode() * 1000)
    except AlreadyThere:
        continue
    print(number, flush=True)
"""

PUT_FOREVER = """
import sys
from engine.store.local import LocalStore
store = LocalStore(sys.argv[1])
upload = store.open_put("never")
upload.write(b"x" * (20 << 20))
for number in range(1_000_000):
    store.put(f"p/{number}", [bytes([number % 256]) * 70_000] * 10)
    print(number, flush=True)
"""


def child(code: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *arguments]
    root = Path(__file__).parents[2]
    return subprocess.Popen(command, cwd=root, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_one_process_wins(tmp_path: Path) -> None:
    children = [child(CREATE_ALL, str(tmp_path), name) for name in "ABCD"]
    try:
        for each in children:
            assert each.stdout is not None
            assert each.stdout.readline() == "ready\n"
        for each in children:
            assert each.stdin is not None
            each.stdin.write("\n")
            each.stdin.flush()
        won = [[int(line) for line in each.communicate(timeout=300)[0].split()] for each in children]
    finally:
        for each in children:
            each.kill()
            each.communicate()
    assert [each.returncode for each in children] == [0] * 4
    assert sorted(number for numbers in won for number in numbers) == list(range(60))
    store = LocalStore(tmp_path)
    for name, numbers in zip("ABCD", won, strict=True):
        for number in numbers:
            assert store.get(f"race/{number % 7}/{number}") == name.encode() * 1000


@pytest.mark.parametrize("after", [1, 4, 9])
def test_a_killed_process_leaves_whole_objects_only(tmp_path: Path, after: int) -> None:
    process = child(PUT_FOREVER, str(tmp_path))
    assert process.stdout is not None
    try:
        for number in range(after):
            assert process.stdout.readline() == f"{number}\n"
    finally:
        process.kill()
        rest, _ = process.communicate()
    acknowledged = after + len(rest.split("\n")) - 1
    store = LocalStore(tmp_path)
    found = {int(item.key.removeprefix("p/")): item for item in store.list("p/")}
    assert sorted(found) in (list(range(acknowledged)), list(range(acknowledged + 1)))
    for number, item in found.items():
        assert item.size == 700_000
        assert store.get(item.key) == bytes([number % 256]) * 700_000
    assert [path for path in tmp_path.iterdir() if path.name != "p"] == []
