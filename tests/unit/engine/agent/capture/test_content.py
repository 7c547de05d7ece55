"""Contents as extents: whatever happens to a file, the extents of all looks overlaid are the file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as s

from engine.agent.capture import content
from engine.agent.capture.cache import OldBlocks, OldBytes
from engine.agent.capture.inodes import Inodes
from engine.agent.kept.record import Record
from engine.tree.sparse import make_hole

BLOCK = content.BLOCK_BYTES


class Image:
    """An outbox and its builder in one: applies extents to bytes."""

    def __init__(self) -> None:
        self.builder = self
        self.lsn_next = 1
        self.files: dict[int, bytearray] = {}
        self.sizes: dict[int, int] = {}
        self.sent = 0

    def _take(self) -> int:
        self.lsn_next += 1
        return self.lsn_next - 1

    def inode(self, at: int, file_id: int | None, kind: str, mode: int, uid: int, gid: int, size: int, *_: Any) -> int:
        lsn = self._take()
        self.sizes[lsn if file_id is None else file_id] = size
        return lsn

    def _put(self, file_id: int, offset: int, data: bytes) -> int:
        file = self.files.setdefault(file_id, bytearray())
        file.extend(bytes(max(0, offset + len(data) - len(file))))
        file[offset : offset + len(data)] = data
        return self._take()

    def extent(self, at: int, file_id: int, offset: int, data: memoryview) -> int:
        assert 0 < len(data) <= 256 * 1024
        self.sent += len(data)
        return self._put(file_id, offset, bytes(data))

    def hole(self, at: int, file_id: int, offset: int, length: int) -> int:
        assert length > 0
        file = self.files.setdefault(file_id, bytearray())
        end = min(offset + length, len(file))
        file[offset:end] = bytes(max(0, end - offset))
        return self._take()

    def close_if_full(self) -> None:
        pass

    def breathe(self) -> None:
        pass

    def content(self, file_id: int) -> bytes:
        size = self.sizes[file_id]
        return bytes(self.files.get(file_id, b"")[:size]).ljust(size, b"\0")


class Looked:
    """One file, and the record of it."""

    def __init__(self, base: Path, old_bytes: int = 0) -> None:
        self.record, self.image = Record(base / "record"), Image()
        self.inodes = Inodes(self.record, self.image)  # type: ignore[arg-type]
        self.inodes.content.old = OldBlocks("s", OldBytes(old_bytes))
        self.path = base / "file"
        self.path.write_bytes(b"")
        self.file_id = self.look(None)

    def look(self, file_id: int | None) -> int:
        fd = os.open(self.path, os.O_RDONLY)
        known = self.record.inode(file_id) if file_id is not None else None
        try:
            return self.inodes.regular(fd, os.fstat(fd), known, 1 << 62)[0]
        finally:
            os.close(fd)


@pytest.fixture(scope="module", autouse=True)
def small_chunks() -> Iterator[None]:
    """Chunks of four blocks, so that small files have many of them."""
    with pytest.MonkeyPatch.context() as patch:
        from engine.agent.capture import inodes

        patch.setattr(content, "CHUNK_BYTES", 4 * BLOCK)
        patch.setattr(inodes, "CHUNK_BYTES", 4 * BLOCK)
        yield


AT = s.integers(0, 12 * BLOCK) | s.sampled_from([0, BLOCK, 4 * BLOCK, 8 * BLOCK])
CHANGES = s.lists(
    s.tuples(s.just("write"), AT, s.integers(1, 2 * BLOCK) | s.integers(1, 100))
    | s.tuples(s.just("truncate"), AT, s.just(0))
    | s.tuples(s.just("punch"), AT, s.sampled_from([4096, BLOCK, 4 * BLOCK]))
    | s.tuples(s.just("look"), s.just(0), s.just(0)),
    max_size=14,
)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(changes=CHANGES, old_bytes=s.sampled_from([0, 3 * BLOCK, 1 << 20]))
def test_extents_overlaid_are_the_file(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, int, int]], old_bytes: int
) -> None:
    file = Looked(tmp_path_factory.mktemp("s"), old_bytes)
    for number, (what, at, length) in enumerate([*changes, ("look", 0, 0)]):
        with file.path.open("r+b") as opened:
            if what == "write":
                opened.seek(at)
                opened.write(bytes([number + 1]) * length)
            elif what == "truncate":
                opened.truncate(at)
            elif what == "punch":
                make_hole(opened.fileno(), at & ~4095, length)
        if what == "look":
            file.look(file.file_id)
            assert file.image.content(file.file_id) == file.path.read_bytes()
    file.record.close()


def test_a_cut_that_leaves_a_hole_in_its_last_block(tmp_path: Path) -> None:
    file = Looked(tmp_path)
    file.path.write_bytes(os.urandom(BLOCK + 3000))
    file.look(file.file_id)
    os.truncate(file.path, 0)
    os.truncate(file.path, BLOCK + 1000)
    file.look(file.file_id)
    assert file.image.content(file.file_id) == bytes(BLOCK + 1000)
    file.record.close()


def test_an_unchanged_file_sends_nothing(tmp_path: Path) -> None:
    file = Looked(tmp_path)
    file.path.write_bytes(os.urandom(100_000))
    file.look(file.file_id)
    before = file.image.lsn_next
    file.look(file.file_id)
    assert file.image.lsn_next == before
    file.record.close()


def test_a_hole_is_never_read_nor_sent(tmp_path: Path) -> None:
    file = Looked(tmp_path)
    os.truncate(file.path, 8 << 40)
    file.look(file.file_id)
    assert file.image.sent == 0
    file.record.close()


def test_holes_cover_what_a_node_may_have_when_the_record_lost_it(tmp_path: Path) -> None:
    file = Looked(tmp_path)
    file.path.write_bytes(os.urandom(20 * BLOCK))
    file.look(file.file_id)
    with file.path.open("r+b") as opened:
        make_hole(opened.fileno(), 5 * BLOCK, 15 * BLOCK)
    file.record.cut_blocks(file.file_id, 0)
    known = file.record.inode(file.file_id)
    assert known is not None
    with file.path.open("rb") as opened:
        status = os.fstat(opened.fileno())
        file.inodes.regular(opened.fileno(), status, known._replace(size=content.UNKNOWN_SIZE), 1 << 62)
    assert file.image.content(file.file_id) == file.path.read_bytes()
    file.record.close()


def test_runs_of_changed_blocks() -> None:
    one, two, hole = b"1" * 16, b"2" * 16, content.HOLE
    assert content.changed_runs(None, one + two) == [(0, 2)]
    assert content.changed_runs(b"", hole + one) == [(1, 2)]
    assert content.changed_runs(one + two + one, one + one) == [(1, 2)]
    assert content.changed_runs(one + one, one + one) == []
    assert content.changed_runs(one, hole + two + two) == [(0, 3)]


def test_of_a_hot_block_only_what_differs_is_sent(tmp_path: Path) -> None:
    file = Looked(tmp_path, 1 << 20)
    file.path.write_bytes(os.urandom(100 * 1024))
    file.look(file.file_id)
    before = file.image.sent
    with file.path.open("r+b") as opened:
        opened.seek(50_000)
        opened.write(os.urandom(100))
    file.look(file.file_id)
    assert file.image.sent - before <= 100
    assert file.image.content(file.file_id) == file.path.read_bytes()
    file.record.close()


def test_what_was_appended_in_a_block_is_sent_alone(tmp_path: Path) -> None:
    file = Looked(tmp_path, 1 << 20)
    file.path.write_bytes(os.urandom(10 * BLOCK + 5000))
    file.look(file.file_id)
    before = file.image.sent
    with file.path.open("ab") as opened:
        opened.write(os.urandom(1000))
    file.look(file.file_id)
    assert file.image.sent - before == 1000
    assert file.image.content(file.file_id) == file.path.read_bytes()
    file.record.close()


def test_growth_hides_no_change_before_it(tmp_path: Path) -> None:
    file = Looked(tmp_path, 1 << 20)
    file.path.write_bytes(os.urandom(6 * BLOCK + 5000))
    file.look(file.file_id)
    for _ in range(3):
        with file.path.open("r+b") as opened:
            opened.write(os.urandom(10))
            opened.seek(0, os.SEEK_END)
            opened.write(os.urandom(BLOCK + 700))
        file.look(file.file_id)
        assert file.image.content(file.file_id) == file.path.read_bytes()
    file.record.close()


def test_old_bytes_that_the_node_does_not_have_are_not_relied_on(tmp_path: Path) -> None:
    """After a roll-back the record has no digest of a block, or an older one: its bytes go whole."""
    file = Looked(tmp_path, 1 << 20)
    file.path.write_bytes(os.urandom(2 * BLOCK))
    file.look(file.file_id)
    kept = file.record.blocks(file.file_id, 0)
    rolled_back = file.image.content(file.file_id)
    for _ in range(2):
        with file.path.open("r+b") as opened:
            opened.write(os.urandom(10))
        file.look(file.file_id)
    assert kept is not None
    file.record.put_blocks(file.file_id, 0, 1, kept)
    file.image.files[file.file_id] = bytearray(rolled_back)
    file.look(file.file_id)
    assert file.image.content(file.file_id) == file.path.read_bytes()
    file.record.close()


def test_a_hole_is_sent_even_where_zeros_were(tmp_path: Path) -> None:
    file = Looked(tmp_path, 1 << 20)
    file.path.write_bytes(bytes(4 * BLOCK))
    file.look(file.file_id)
    with file.path.open("r+b") as opened:
        make_hole(opened.fileno(), BLOCK, BLOCK)
    before = file.image.lsn_next
    file.look(file.file_id)
    assert file.image.lsn_next > before + 1
    file.record.close()
