"""Filling, over plain files and a supply of which the test decides when it answers."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from engine.fill.base import BLOCK_BYTES, Away, ColdFile
from engine.fill.flow.background import Background
from engine.fill.flow.filling import Filling
from engine.fill.flow.storing import without
from engine.fill.kept import map
from engine.fill.kept.map import Map
from engine.fill.kept.sizes import Sizes
from engine.fill.tree.skeleton import allocate
from engine.model.errors import Damaged

BLOCKS = 200
SIZE = BLOCKS * BLOCK_BYTES - 100
CONTENT = os.urandom(SIZE)


class Plain:
    """Stands for a mechanism: files by path, nobody is stopped."""

    name = "plain"
    sees_truncation = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self.wholes: list[int] = []

    def open(self, number: int) -> int:
        return os.open(self.path, os.O_RDWR)

    def whole(self, number: int) -> None:
        self.wholes.append(number)


class Given:
    """A supply of CONTENT; `damaged` blocks, `away` times, a gate that is open unless the test shuts it."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []
        self.damaged: set[int] = set()
        self.away = 0
        self.holes = (0, 0)
        self.gate = threading.Event()
        self.gate.set()

    def read(self, file: ColdFile, offset: int, length: int) -> Sequence[tuple[int, bytes]]:
        self.asked.append((offset, length))
        assert self.gate.wait(120)
        if self.away:
            self.away -= 1
            raise Away("not now")
        if self.damaged & set(range(offset // BLOCK_BYTES, -(-(offset + length) // BLOCK_BYTES))):
            raise Damaged("lost")
        begins, ends = self.holes
        spans = without([(offset, offset + length)], [(begins, ends)])
        return [(first, CONTENT[first:last]) for first, last in spans]

    def heat(self) -> dict[int, tuple[int, int]]:
        return {}

    def close(self) -> None: ...


class Scene:
    def __init__(self, directory: Path, away_seconds: float = 5.0) -> None:
        self.path = directory / "file"
        with self.path.open("wb") as file:
            file.truncate(SIZE)
        os.utime(self.path, ns=(5, 7))
        map.make(directory / "map", BLOCKS)
        self.map = Map(directory / "map", writing=True)
        self.supply, self.mechanism = Given(), Plain(self.path)
        status = self.path.stat()
        self.file = ColdFile(0, 1, status.st_dev, status.st_ino, SIZE, 7, 0, b"file")
        self.sizes = Sizes(directory / "sizes")
        self.filling = Filling([self.file], self.map, self.sizes, self.supply, away_seconds)
        self.filling.mechanism = self.mechanism  # type: ignore[assignment]

    @property
    def now(self) -> bytes:
        return self.path.read_bytes()


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_what_is_asked_for_is_there_and_the_time_stays(scene: Scene) -> None:
    scene.filling.ensure(0, 50_000, 10, SIZE)
    assert scene.now[50_000:50_010] == CONTENT[50_000:50_010]
    assert scene.path.stat().st_mtime_ns == 7
    assert scene.filling.ready(0, 50_000, 10, SIZE)
    assert not scene.filling.ready(0, SIZE - 10, 10, SIZE)
    assert sum(length for _, length in scene.supply.asked) <= 128 << 10


def test_the_map_has_the_digests_of_what_was_filled(scene: Scene) -> None:
    scene.filling.ensure(0, 0, 0, SIZE)
    assert scene.now == CONTENT
    assert scene.map.entries(0, BLOCKS) == map.digests(bytearray(CONTENT))
    assert scene.mechanism.wholes and scene.filling.files_left == 0
    assert scene.filling.number_of(scene.file.dev, scene.file.ino) is None


def test_two_who_want_the_same_wait_for_one_fetch(scene: Scene) -> None:
    scene.supply.gate.clear()
    readers = [threading.Thread(target=scene.filling.ensure, args=(0, 100, 10, SIZE)) for _ in range(4)]
    for each in readers:
        each.start()
    scene.supply.gate.set()
    for each in readers:
        each.join(120)
    assert len(scene.supply.asked) == 1
    assert scene.filling.waiting == 0


def test_nothing_is_filled_past_a_cut_even_when_it_grew_again(scene: Scene) -> None:
    os.truncate(scene.path, 20_000)
    scene.filling.truncated(0, 20_000)
    os.truncate(scene.path, SIZE)
    scene.filling.ensure(0, 0, 0, SIZE)
    assert scene.now == CONTENT[:20_000] + bytes(SIZE - 20_000)
    assert Sizes(scene.path.parent / "sizes").smallest == {0: 20_000}


def test_a_size_seen_is_a_cut(scene: Scene) -> None:
    os.truncate(scene.path, 0)
    scene.filling.ensure(0, 0, 10, 0)
    assert scene.now == b""
    assert scene.supply.asked == []
    assert scene.filling.is_whole(0)


def test_a_file_that_is_cut_while_its_bytes_are_fetched_is_not_made_longer(scene: Scene) -> None:
    scene.supply.gate.clear()
    reader = threading.Thread(target=scene.filling.ensure, args=(0, 0, SIZE, SIZE))
    reader.start()
    while not scene.supply.asked:
        pass
    os.truncate(scene.path, 0)
    scene.supply.gate.set()
    reader.join(120)
    assert scene.now == b""


def test_what_was_written_stays(scene: Scene) -> None:
    scene.filling.ensure(0, 0, 4, SIZE)
    with scene.path.open("r+b") as file:
        file.write(b"mine")
    scene.filling.ensure(0, 0, 0, SIZE)
    assert scene.now == b"mine" + CONTENT[4:]


def test_a_part_that_a_power_cut_left_stays(scene: Scene) -> None:
    with scene.path.open("r+b") as file:
        file.write(b"mine" * 1024)
    scene.filling.count({(0, 0): [(0, 4096)]})
    scene.filling.ensure(0, 0, 0, SIZE)
    assert scene.now == b"mine" * 1024 + CONTENT[4096:]


def test_a_supply_that_comes_back_is_waited_for(scene: Scene) -> None:
    scene.supply.away = 2
    scene.filling.ensure(0, 0, 10, SIZE)
    assert scene.now[:10] == CONTENT[:10]
    assert not scene.filling.away


def test_a_supply_that_stays_away_is_an_error(tmp_path: Path) -> None:
    scene = Scene(tmp_path, away_seconds=0.0)
    scene.supply.away = 1 << 30
    with pytest.raises(OSError) as caught:
        scene.filling.ensure(0, 0, 10, SIZE)
    assert caught.value.errno == errno.EIO
    scene.supply.away = 0
    scene.filling.ensure(0, 0, 10, SIZE)
    assert scene.now[:10] == CONTENT[:10]


def test_only_what_is_damaged_is_an_error(scene: Scene) -> None:
    scene.supply.damaged = {3}
    with pytest.raises(OSError):
        scene.filling.ensure(0, 3 * BLOCK_BYTES, 10, SIZE)
    scene.filling.ensure(0, 2 * BLOCK_BYTES, 10, SIZE)
    scene.filling.ensure(0, 4 * BLOCK_BYTES, 10, SIZE)
    assert scene.filling.damaged == {0: "lost"}
    assert scene.now[2 * BLOCK_BYTES : 3 * BLOCK_BYTES] == CONTENT[2 * BLOCK_BYTES : 3 * BLOCK_BYTES]


def test_the_background_fills_all_but_what_is_damaged(scene: Scene) -> None:
    scene.supply.damaged = {150}
    background = Background(scene.filling, 0)
    background.run([0])
    assert background.done.is_set()
    assert scene.filling.blocks_left == 1
    assert scene.map.first_cold(0, BLOCKS) == 150


class Still:
    """A clock that moves when somebody sleeps."""

    at = 0.0

    def monotonic(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += seconds


def test_no_rate_keeps_holes(scene: Scene) -> None:
    clock, begins = Still(), 20 * BLOCK_BYTES
    scene.supply.holes = (begins, SIZE)
    background = Background(scene.filling, begins, clock)  # type: ignore[arg-type]
    background.run([0])
    assert scene.now == CONTENT[:begins] + bytes(SIZE - begins)
    assert clock.at <= 1.0


def test_the_background_keeps_its_rate(scene: Scene) -> None:
    clock = Still()
    background = Background(scene.filling, 1 << 20, clock)  # type: ignore[arg-type]
    background.run([0])
    assert scene.now == CONTENT
    assert clock.at >= SIZE / (1 << 20) - 1.5


def test_holes_are_punched_when_all_else_is_there(scene: Scene) -> None:
    """What is cold looks like a hole: a file must not look as if it had some before its data is there."""
    with scene.path.open("r+b") as file:
        allocate(file.fileno(), 0, SIZE)
    room = scene.path.stat().st_blocks
    scene.supply.holes = (20 * BLOCK_BYTES, 180 * BLOCK_BYTES)
    scene.filling.fill_some(0, 0)
    scene.filling.ensure(0, 30 * BLOCK_BYTES, 10, SIZE)
    assert scene.path.stat().st_blocks == room
    assert scene.map.first_cold(0, BLOCKS) == 20
    assert scene.filling.ready(0, 30 * BLOCK_BYTES, 10, SIZE)
    Background(scene.filling, 0).run([0])
    assert scene.filling.is_whole(0)
    assert scene.path.stat().st_blocks < room
    begins, ends = scene.supply.holes
    assert scene.now == CONTENT[:begins] + bytes(ends - begins) + CONTENT[ends:]


def test_a_deleted_file_is_done(scene: Scene) -> None:
    scene.path.unlink()
    scene.filling.ensure(0, 0, 10, SIZE)
    assert scene.filling.is_whole(0)


def test_a_cancelled_recovery_refuses(scene: Scene) -> None:
    scene.filling.refuse()
    with pytest.raises(OSError):
        scene.filling.ensure(0, 0, 10, SIZE)


def test_one_who_reads_on_passes_what_is_warm(scene: Scene) -> None:
    """A page in the middle that somebody has read before doesn't make him begin anew."""
    scene.filling.ensure(0, 70 * BLOCK_BYTES, 10, SIZE)
    for block in range(0, 80, 8):
        scene.filling.ensure(0, block * BLOCK_BYTES, 8 * BLOCK_BYTES, SIZE)
    assert [length // BLOCK_BYTES for _, length in scene.supply.asked] == [8, 8, 16, 32, 8, 127]


def test_who_only_reads_does_not_wait_for_a_fill_elsewhere(scene: Scene) -> None:
    scene.filling.ensure(0, 0, 10, SIZE)
    scene.supply.gate.clear()
    other = threading.Thread(target=scene.filling.ensure, args=(0, 100 * BLOCK_BYTES, 10, SIZE))
    other.start()
    while len(scene.supply.asked) < 2:
        pass
    assert scene.filling.ready(0, 0, 10, SIZE, reading=True)
    assert not scene.filling.ready(0, 0, 10, SIZE)
    with scene.filling.window(0):  # as long as a fill is being stored
        reader = threading.Thread(target=scene.filling.ensure, args=(0, 0, 10, SIZE, True))
        reader.start()
        reader.join(10)
        assert not reader.is_alive()
    scene.supply.gate.set()
    other.join(10)
