"""Reading ahead: what is begun for one who reads on, by whom, and up to where."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from engine.fill.base import BLOCK_BYTES, ColdFile
from engine.fill.flow.ahead import AHEAD_BLOCKS, Ahead
from engine.fill.flow.asked import Asked
from engine.fill.flow.chunks import MOST_BLOCKS
from engine.fill.kept import map
from engine.fill.kept.map import Map

BLOCKS = 20 * MOST_BLOCKS + 5
PATIENCE_SECONDS = 20.0


class Scene:
    """Two threads that read ahead in a file; each fill waits at a gate that is open unless the test shuts it."""

    def __init__(self, directory: Path) -> None:
        map.make(directory / "map", BLOCKS)
        self.map = Map(directory / "map", writing=True)
        file = ColdFile(0, 1, 1, 1, BLOCKS * BLOCK_BYTES, 7, 0, b"file")
        self.known = Asked(file.size, BLOCKS, run=MOST_BLOCKS)
        self.fills: list[tuple[int, int]] = []
        self.gate, self.happened = threading.Event(), threading.Condition()
        self.gate.set()
        self.ahead = Ahead([file], self.map, self.fill)
        self.threads = [threading.Thread(target=self.ahead.run) for _ in range(2)]
        for each in self.threads:
            each.start()

    def fill(self, number: int, block: int, end: int) -> int:
        with self.happened:
            self.fills.append((block, end))
            self.happened.notify_all()
        assert self.gate.wait(PATIENCE_SECONDS)
        with self.happened:
            self.map.set_warm(block, end)
            self.happened.notify_all()
        return end

    def wait_until_warm(self, first: int, end: int) -> None:
        with self.happened:
            assert self.happened.wait_for(lambda: self.map.first_cold(first, end) < 0, PATIENCE_SECONDS), self.fills


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.gate.set()
    made.ahead.stop()
    for each in made.threads:
        each.join(PATIENCE_SECONDS)
        assert not each.is_alive()


def test_what_follows_is_fetched_and_no_more(scene: Scene) -> None:
    scene.ahead.came(0, scene.known, 10)
    scene.wait_until_warm(10, AHEAD_BLOCKS)
    edges = [10, *range(MOST_BLOCKS, AHEAD_BLOCKS + 1, MOST_BLOCKS)]
    assert sorted(scene.fills) == list(pairwise(edges))


def test_two_threads_fetch_what_is_not_the_same(scene: Scene) -> None:
    scene.gate.clear()
    scene.ahead.came(0, scene.known, 0)
    with scene.happened:
        assert scene.happened.wait_for(lambda: len(scene.fills) == 2, PATIENCE_SECONDS)
    assert sorted(scene.fills) == [(0, MOST_BLOCKS), (MOST_BLOCKS, 2 * MOST_BLOCKS)]


def test_small_steps_of_a_reader_make_no_small_fetches(scene: Scene) -> None:
    for end in range(0, BLOCKS, 3):
        scene.ahead.came(0, scene.known, end)
        scene.wait_until_warm(end, min(BLOCKS, end + MOST_BLOCKS))
    assert [end - block for block, end in sorted(scene.fills)[:-1]] == [MOST_BLOCKS] * 20
    assert sorted(scene.fills)[-1] == (20 * MOST_BLOCKS, BLOCKS)


def test_what_is_warm_is_passed(scene: Scene) -> None:
    scene.map.set_warm(0, 2 * MOST_BLOCKS)
    scene.ahead.came(0, scene.known, 0)
    scene.wait_until_warm(0, 6 * MOST_BLOCKS)
    assert min(scene.fills) == (2 * MOST_BLOCKS, 3 * MOST_BLOCKS)


def test_one_who_reads_here_and_there_has_nothing_begun(scene: Scene) -> None:
    scene.known.run = MOST_BLOCKS - 1
    scene.ahead.came(0, scene.known, 50)
    scene.known.run = MOST_BLOCKS
    scene.ahead.came(0, scene.known, 19 * MOST_BLOCKS)
    scene.wait_until_warm(19 * MOST_BLOCKS, BLOCKS)
    assert min(scene.fills)[0] == 19 * MOST_BLOCKS
