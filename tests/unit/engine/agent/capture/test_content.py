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

    def __init__(self, base: Path) -> None:
        self.record, self.image = Record(base / "record"), Image()
        self.inodes = Inodes(self.record, self.image)  # type: ignore[arg-type]
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
    s.tuples(s.just("write"), AT, s.integers(1, 2 * BLOCK))
    | s.tuples(s.just("truncate"), AT, s.just(0))
    | s.tuples(s.just("punch"), AT, s.sampled_from([4096, BLOCK, 4 * BLOCK]))
    | s.tuples(s.just("look"), s.just(0), s.just(0)),
    max_size=14,
)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(changes=CHANGES)
def test_extents_overlaid_are_the_file(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, int, int]]
) -> None:
    file = Looked(tmp_path_factory.mktemp("s"))
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
    os.truncate(file.path, 1 << 30)
    file.look(file.file_id)
    assert file.image.sent == 0
    file.record.close()


def test_runs_of_changed_blocks() -> None:
    one, two, hole = b"1" * 16, b"2" * 16, content.HOLE
    assert content.changed_runs(None, one + two) == [(0, 2)]
    assert content.changed_runs(b"", hole + one) == [(1, 2)]
    assert content.changed_runs(one + two + one, one + one) == [(1, 2)]
    assert content.changed_runs(one + one, one + one) == []
    assert content.changed_runs(one, hole + two + two) == [(0, 3)]
