"""A recovered file under any changes and fills: what capture sends, over what the journal had, is what an application
would read; of cold blocks not a byte is read or sent."""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as s

from engine.agent.capture import content
from engine.agent.capture.inodes import Inodes
from engine.agent.kept.record import Known, Record
from engine.agent.recovered import compare, taking
from engine.agent.recovered.cold import Cold
from engine.agent.recovered.standing import Standing
from engine.fill.base import BLOCK_BYTES, COLD, ColdFile, Place, Recipe
from engine.fill.kept import map, table
from engine.fill.kept.documents import State
from engine.fill.kept.sizes import Sizes
from engine.fill.tree.handles import handle_of
from engine.fill.tree.skeleton import allocate
from engine.tree.sparse import make_hole
from tests.unit.engine.agent.capture.test_content import Image

BLOCK = BLOCK_BYTES
FILE_ID = 7
BLOCKS_MAX = 10


@pytest.fixture(scope="module", autouse=True)
def small_chunks() -> Iterator[None]:
    """Chunks of four blocks, so that small files have many of them."""
    with pytest.MonkeyPatch.context() as patch:
        from engine.agent.recovered import cold

        patch.setattr(compare, "CHUNK_BYTES", 4 * BLOCK)
        patch.setattr(compare, "CHUNK_BLOCKS", 4)
        patch.setattr(cold, "CHUNK_BLOCKS", 4)
        patch.setattr(content, "CHUNK_BYTES", 4 * BLOCK)
        patch.setattr(taking, "CHUNK_BLOCKS", 4)
        from engine.agent.capture import inodes

        patch.setattr(inodes, "CHUNK_BYTES", 4 * BLOCK)
        yield


class Recovered:
    """A file as a skeleton has it, a filler that does as the real one, and what an application would read."""

    def __init__(self, base: Path, then: bytes, hole: tuple[int, int]) -> None:
        self.place, self.path = Place(base), base / "file"
        self.then = self.truth = bytearray(then)
        self.truth = bytearray(then)
        self.fd = os.open(self.path, os.O_RDWR | os.O_CREAT)
        os.ftruncate(self.fd, len(then))
        for first, end in ((0, hole[0] * BLOCK), (hole[1] * BLOCK, len(then))):
            if end > first:
                allocate(self.fd, first, end - first)
        status = os.fstat(self.fd)
        file = ColdFile(
            0, FILE_ID, status.st_dev, status.st_ino, len(then), status.st_mtime_ns, 0, b"file", handle_of(self.fd)
        )
        table.write(self.place.files, [file])
        map.make(self.place.map, file.blocks)
        self.map = map.Map(self.place.map, writing=True)
        if hole[0] < hole[1]:
            self.map.set(hole[0], map.zero_digests(len(then), *hole))
        self.limit, self.sizes = len(then), Sizes(self.place.sizes)
        self.record, self.image = Record(base / "record"), Image()
        self.image.lsn_next = 100
        self.image.files[FILE_ID], self.image.sizes[FILE_ID] = bytearray(then), len(then)
        self.inodes = Inodes(self.record, self.image)  # type: ignore[arg-type]
        recipe = Recipe("r", "", "", "1.50", *(0, "", "", "", "", False, False, "", "", 0, "", 0, 0, 0, 0.0, "", {}))
        self.cold = self.inodes.cold = Cold(Standing(self.place, recipe, State(), True), self.record)
        numbers = (status.st_dev, status.st_ino, status.st_mode, status.st_uid, status.st_gid)
        self.record.put_known(Known(FILE_ID, *numbers, len(then), status.st_mtime_ns, -1, 0, b"", b""), 50)
        self.acknowledged = self._state()

    def close(self) -> None:
        self.map.close()
        self.sizes.close()
        self.cold.close()
        self.record.close()
        os.close(self.fd)

    def _state(self) -> tuple[int, dict[int, bytearray], dict[int, int]]:
        return self.image.lsn_next - 1, copy.deepcopy(self.image.files), dict(self.image.sizes)

    # The filler's part.

    def notice(self) -> None:
        size = os.fstat(self.fd).st_size
        if size < self.limit:
            self.sizes.note(0, size)
            self.limit = size
            for first, end in list(self.map.cold_runs(-(-size // BLOCK), self.map.blocks)):
                self.map.set_warm(first, end)

    def fill(self, at: int, length: int) -> None:
        self.notice()
        end = min(at + length, self.limit)
        for block in range(at // BLOCK, -(-end // BLOCK)):
            if self.map.entry(block) == COLD:
                begin, stop = block * BLOCK, min(block * BLOCK + BLOCK, self.limit)
                os.pwrite(self.fd, self.then[begin:stop], begin)
                self.map.set(block, map.digests(memoryview(self.then)[begin:stop]))

    # The application's.

    def write(self, at: int, length: int, number: int) -> None:
        self.fill(at, length)
        data = bytes([number % 250 + 1]) * length if number % 5 else bytes(length)
        os.pwrite(self.fd, data, at)
        self.truth.extend(bytes(max(0, at + length - len(self.truth))))
        self.truth[at : at + length] = data

    def resize(self, size: int, noticed: bool) -> None:
        if not noticed and size < len(self.truth):
            size = 0  # only O_TRUNC goes unnoticed
        else:
            self.notice()  # truncate(2) asks before it does it
        os.ftruncate(self.fd, size)
        if noticed:
            self.notice()
        del self.truth[size:]
        self.truth.extend(bytes(size - len(self.truth)))

    def punch(self, at: int, length: int) -> None:
        end = min(at + length, len(self.truth))
        if end > at:
            self.fill(at, length)
            make_hole(self.fd, at, end - at)
            self.truth[at:end] = bytes(end - at)

    # Capture's.

    def look(self) -> None:
        for _ in range(3):
            self.inodes.regular(self.fd, os.fstat(self.fd), self.record.inode(FILE_ID), 1 << 62)
            self.record.commit()
        assert self.image.content(FILE_ID) == bytes(self.truth)

    def acknowledge(self) -> None:
        self.acknowledged = self._state()
        self.record.acknowledge(self.acknowledged[0], b"")

    def lose(self) -> None:
        """What was not acknowledged never arrived."""
        lsn, files, sizes = self.acknowledged
        self.image.files, self.image.sizes = copy.deepcopy(files), dict(sizes)
        self.image.lsn_next = lsn + 1
        self.record.roll_back(lsn)

    def settle(self) -> None:
        """All is filled, and capture knows by itself from then on."""
        self.fill(0, self.limit)
        taking.settle(self.cold, self.record, self.image.lsn_next - 1, lambda _: os.open(self.path, os.O_RDONLY))
        self.record.commit()
        self.inodes.cold = None


AT = s.integers(0, BLOCKS_MAX * BLOCK) | s.sampled_from([0, BLOCK, 4 * BLOCK, 8 * BLOCK])
LENGTH = s.integers(1, 2 * BLOCK) | s.integers(1, 100) | s.sampled_from([4096, BLOCK, 4 * BLOCK])
WHAT = s.sampled_from(["write", "write", "resize", "cut", "punch", "fill", "look", "look", "acknowledge", "lose"])


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    size=s.integers(1, BLOCKS_MAX * BLOCK),
    hole=s.tuples(s.integers(0, 4), s.integers(0, 4)),
    changes=s.lists(s.tuples(WHAT, AT, LENGTH), max_size=16),
)
@example(size=2, hole=(0, 0), changes=[("resize", 1, 1), ("write", 8192, 1), ("look", 0, 1), ("lose", 0, 1)])
def test_what_is_sent_over_what_was_there_is_the_file(
    size: int, hole: tuple[int, int], changes: list[tuple[str, int, int]]
) -> None:
    blocks = -(-size // BLOCK)
    first, end = min(hole[0], blocks), min(hole[0] + hole[1], blocks)
    then = bytearray(os.urandom(size))
    then[first * BLOCK : end * BLOCK] = bytes(min(end * BLOCK, size) - min(first * BLOCK, size))
    memory = Path("/dev/shm")  # what a disk needs to sync would take most of the time
    folder = tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None)
    file = Recovered(Path(folder.name), bytes(then), (first, end))
    try:
        for number, (what, at, length) in enumerate([*changes, ("look", 0, 0)]):
            if what == "write":
                file.write(at, length, number)
            elif what in ("resize", "cut"):
                file.resize(at, what == "resize")
            elif what == "punch":
                file.punch(at, length)
            elif what == "fill":
                file.fill(at, length)
            elif what == "look":
                file.look()
            elif what == "acknowledge":
                file.look()
                file.acknowledge()
            else:
                file.lose()
        file.settle()
        file.look()
        file.write(BLOCK + 5, 10, 3)
        file.look()
    finally:
        file.close()
        folder.cleanup()


def test_nothing_is_sent_of_a_file_that_nobody_touched(tmp_path: Path) -> None:
    then = bytearray(os.urandom(9 * BLOCK + 17))
    then[2 * BLOCK : 3 * BLOCK] = bytes(BLOCK)
    file = Recovered(tmp_path, bytes(then), (2, 3))
    file.look()
    file.fill(BLOCK, 3 * BLOCK)
    file.look()
    file.settle()
    file.look()
    assert file.image.sent == 0 and file.inodes.content.bytes_read <= 3 * 8 * (9 * BLOCK + 17)
    file.close()


def test_holes_are_asked_for_and_neither_read_nor_told_anew(tmp_path: Path) -> None:
    data, hole = os.urandom(BLOCK), 9
    file = Recovered(tmp_path, data + bytes(hole * BLOCK), (1, 1 + hole))
    try:
        file.fill(0, BLOCK)
        file.look()
        assert file.inodes.content.bytes_read <= 3 * 4 * BLOCK, "of the chunks that are holes nothing"
        file.settle()
        lsn, read = file.image.lsn_next, file.inodes.content.bytes_read
        os.utime(file.fd, ns=(1, 1))
        file.look()
        assert file.image.sent == 0 and file.image.lsn_next - lsn == 1, "its time, and no hole"
        assert file.inodes.content.bytes_read - read <= 3 * 4 * BLOCK
        assert file.record.blocks(FILE_ID, 2) is None, "a chunk that is a hole takes no room in the record"
    finally:
        file.close()


def test_a_cold_file_is_not_read(tmp_path: Path) -> None:
    file = Recovered(tmp_path, os.urandom(6 * BLOCK), (0, 0))
    file.look()
    assert file.inodes.content.bytes_read == 0
    file.write(2 * BLOCK + 10, 5, 1)
    file.look()
    assert file.inodes.content.bytes_read <= 3 * BLOCK and file.image.sent <= BLOCK
    file.close()


def test_another_file_under_its_number_is_sent_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = Recovered(tmp_path, os.urandom(3 * BLOCK), (0, 0))
    from engine.agent.recovered import cold

    monkeypatch.setattr(cold, "handle_of", lambda fd: b"another")
    new = os.urandom(2 * BLOCK)
    os.ftruncate(file.fd, 0)
    os.pwrite(file.fd, new, 0)
    file.truth = bytearray(new)
    file.look()
    file.close()
