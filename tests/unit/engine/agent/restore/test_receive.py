"""Batches of a restored tree applied below a directory: whole, twice, damaged, and made by someone who means ill."""

from __future__ import annotations

import base64
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from engine.agent.restore.landing import Landing, give_back, take
from engine.agent.restore.readback import ReadBack
from engine.agent.restore.receive import Done, Receiver
from engine.wire.batch import NO_HASH, Batch, decode, encode
from engine.wire.columns import TABLES
from engine.wire.errors import Malformed
from engine.wire.frames import FrameFiller

MTIME = 1_600_000_000_123_456_789
DIR, ONE, TWO = 11, 21, 22


class Rows:
    """A batch in the making."""

    def __init__(self) -> None:
        self.lsn = 1
        self.rows: dict[str, list[tuple[Any, ...]]] = {name: [] for name in TABLES}
        self.filler = FrameFiller()
        self.hashes: list[bytes] = []

    def add(self, table: str, *values: Any) -> Rows:
        self.rows[table].append((self.lsn, 0, *values))
        self.lsn += 1
        return self

    def name(self, parent: int, name: bytes, file_id: int) -> Rows:
        return self.add("dentry", parent, name, file_id)

    def inode(self, file_id: int, kind: str, mode: int = 0o640, size: int = 0, target: bytes = b"") -> Rows:
        return self.add("inode", file_id, ord(kind), mode, os.getuid(), os.getgid(), size, MTIME, 0, target, b"")

    def extent(self, file_id: int, offset: int, data: bytes, digest: bytes | None = None) -> Rows:
        self.hashes.append(digest or blake3(data).digest(16))
        return self.add("extent", file_id, offset, len(data), *self.filler.add(data))

    def record(self, topic: bytes, payload: bytes) -> Rows:
        return self.add("record", topic, payload)

    def batch(self) -> Batch:
        if self.hashes:
            self.record(b"hashes", base64.b64encode(b"".join(self.hashes)))
        buffers, _ = encode("0" * 16, 1, 1, NO_HASH, self.rows, self.filler.frames())
        return decode(b"".join(buffers))

    def without_data(self) -> Batch:
        """The same for reading back: only the hashes are there."""
        self.rows["extent"] = [(*row[:-2], -1, 0) for row in self.rows["extent"]]
        self.filler = FrameFiller()
        return self.batch()


@pytest.fixture
def landing(tmp_path: Path) -> Iterator[Landing]:
    held = take(os.fsencode(tmp_path / "target"), None)
    yield held
    give_back(held, attributes_set=False)


@pytest.fixture
def receiver(landing: Landing) -> Iterator[Receiver]:
    receiver = Receiver(landing, Done(), owners=os.geteuid() == 0)
    yield receiver
    receiver.close()


def made() -> Batch:
    return Rows().name(0, b"dir", DIR).batch()


def files() -> Rows:
    """`dir/one` with a hole in the middle and at its end, and a second name."""
    rows = Rows().name(DIR, b"one", ONE).name(0, b"link", ONE).inode(ONE, "f", 0o440, 3_000_000)
    return rows.extent(ONE, 0, b"a" * 70_000).extent(ONE, 2_000_000, b"b" * 70_000)


def test_a_tree_is_made_and_made_again(receiver: Receiver, tmp_path: Path) -> None:
    target = tmp_path / "target"
    for again in (False, True):
        receiver.apply("made", made(), again=again)
        receiver.apply("files", files().batch())
        link = Rows().inode(TWO, "l", 0o777, 3, b"one").name(DIR, b"soft", TWO)
        receiver.apply("others", link.batch())
        receiver.apply("finished", Rows().inode(DIR, "d", 0o750).inode(0, "d", 0o711).batch())
        content = b"a" * 70_000 + bytes(1_930_000) + b"b" * 70_000 + bytes(930_000)
        assert (target / "dir" / "one").read_bytes() == content
        assert (target / "link").samefile(target / "dir" / "one") and (target / "link").stat().st_nlink == 2
        status = (target / "dir" / "one").stat()
        assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (0o440, MTIME) and status.st_blocks * 512 < 400_000
        assert os.readlink(target / "dir" / "soft") == "one"
        assert stat.S_IMODE((target / "dir").stat().st_mode) == 0o750 and (target / "dir").stat().st_mtime_ns == MTIME
        assert stat.S_IMODE(target.stat().st_mode) == 0o711
    assert receiver.done.failures == [] and receiver.done.shortfalls == []


def test_a_file_may_come_in_several_batches(receiver: Receiver, tmp_path: Path) -> None:
    receiver.apply("made", made())
    receiver.apply("files", Rows().name(DIR, b"one", ONE).extent(ONE, 0, b"a" * 10).batch())
    assert receiver.done.files == 0
    last = Rows().name(DIR, b"one", ONE).inode(ONE, "f", 0o600, 20).extent(ONE, 10, b"b" * 10)
    receiver.apply("files", last.batch())
    assert (tmp_path / "target" / "dir" / "one").read_bytes() == b"a" * 10 + b"b" * 10
    assert (receiver.done.files, receiver.done.bytes_written) == (1, 20)


def test_bytes_that_are_not_their_hashs_are_not_written(receiver: Receiver, tmp_path: Path) -> None:
    bad = Rows().name(0, b"one", ONE).inode(ONE, "f", 0o600, 3).extent(ONE, 0, b"abc", b"\1" * 16)
    bad.name(0, b"two", TWO).inode(TWO, "f", 0o600, 3).extent(TWO, 0, b"def")
    receiver.apply("files", bad.batch())
    [(path, why)] = receiver.done.failures
    assert path == os.fsencode(tmp_path / "target" / "one") and "do not match their hash" in why
    assert os.listdir(tmp_path / "target") == ["two"] and receiver.done.files == 1


def test_of_a_damaged_file_nothing_is_left_and_nothing_more_is_written(receiver: Receiver, tmp_path: Path) -> None:
    receiver.apply("files", Rows().name(0, b"one", ONE).extent(ONE, 0, b"abc").batch())
    told = json.dumps({"file_id": ONE, "message": "pack packs/p is missing"}).encode()
    receiver.apply("files", Rows().name(0, b"one", ONE).record(b"failed", told).batch())
    last = Rows().name(0, b"one", ONE).name(0, b"link", ONE).inode(ONE, "f", 0o600, 9).extent(ONE, 6, b"ghi")
    receiver.apply("files", last.batch())
    assert os.listdir(tmp_path / "target") == [] and receiver.done.damaged and receiver.done.files == 0
    assert [why for _, why in receiver.done.failures] == ["pack packs/p is missing"]


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"/etc/passwd", b"../x", b"a\0b"])
@pytest.mark.parametrize("step", ["made", "files", "others"])
def test_no_name_leads_elsewhere(receiver: Receiver, tmp_path: Path, step: str, name: bytes) -> None:
    rows = Rows().name(0, name, ONE)
    rows = rows if step == "made" else rows.inode(ONE, "f" if step == "files" else "p")
    with pytest.raises(Malformed):
        receiver.apply(step, rows.batch())
    assert os.listdir(tmp_path / "target") == []


@pytest.mark.parametrize(
    ("step", "rows"),
    [
        ("files", Rows().name(5, b"x", ONE).inode(ONE, "f")),  # a parent that was never made
        ("files", Rows().name(0, b"x", ONE).inode(ONE, "l")),
        ("files", Rows().name(0, b"x", ONE).inode(ONE, "d")),
        ("others", Rows().name(0, b"x", ONE).inode(ONE, "f")),
        ("others", Rows().inode(ONE, "p")),
        ("finished", Rows().inode(99, "d")),
        ("finished", Rows().inode(0, "f")),
        ("made", Rows().name(0, b"x", 0)),  # it would stand for the target
        ("made", Rows().name(0, b"x", ONE).inode(ONE, "d")),
        ("files", Rows().extent(ONE, 0, b"abc")),
        ("files", Rows().name(0, b"x", ONE).record(b"hashes", b"????")),
        ("files", Rows().name(0, b"x", ONE).record(b"failed", b'{"file_id": 7}')),
        ("files", Rows().add("mark", b"pass", b"", b"", 0)),
        ("other", Rows().name(0, b"x", ONE)),
    ],
)
def test_what_no_node_of_ours_says_is_refused(receiver: Receiver, step: str, rows: Rows) -> None:
    with pytest.raises(Malformed):
        receiver.apply(step, rows.batch())


def test_an_extent_without_a_hash_is_refused(receiver: Receiver) -> None:
    rows = Rows().name(0, b"x", ONE).inode(ONE, "f", size=3).extent(ONE, 0, b"abc")
    rows.hashes.clear()
    with pytest.raises(Malformed):
        receiver.apply("files", rows.batch())


def test_reading_back_finds_every_kind_of_change(receiver: Receiver, landing: Landing, tmp_path: Path) -> None:
    receiver.apply("made", made())
    receiver.apply("files", files().batch())
    one = tmp_path / "target" / "dir" / "one"

    def look() -> list[str]:
        looking = ReadBack(landing, receiver.directories, receiver.done, os.geteuid() == 0, 2)
        try:
            looking.compare("files", files().without_data())
        finally:
            looking.close()
        return [what for _, what in looking.differences]

    def change(offset: int, data: bytes) -> None:
        one.chmod(0o640)
        with one.open("r+b") as file:
            file.seek(offset)
            file.write(data)
        one.chmod(0o440)
        os.utime(one, ns=(MTIME, MTIME))

    assert look() == []
    change(5, b"X")
    assert look() == ["content at byte 0"]
    change(5, b"a")
    change(1_000_000, b"X")
    assert len(look()) == 1 and look()[0].startswith("content at byte")
    change(1_000_000, b"\0")
    assert look() == []
    one.chmod(0o400)
    assert look() == ["mode"]
    one.chmod(0o440)
    (tmp_path / "target" / "link").unlink()
    assert [what.split("/")[0] for what in look()] == ["further name "]
    one.unlink()
    assert look() == ["No such file or directory"]
