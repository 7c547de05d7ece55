"""Copies: batches that refer to content the stream has already, resolved by a node. A wrong reference gets nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.env.clock import SYSTEM
from engine.journal import copies
from engine.journal.check import check
from engine.query.compaction import compact
from engine.wire.batch import BatchBuilder, decode, meant
from tests.nodes import Answer, InProcessNode, Writer, acts, file_of, files_in, in_process_node, objects

CONTENT = os.urandom(150_000)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[InProcessNode]:
    with in_process_node(tmp_path) as node:
        yield node


@pytest.fixture
def writer(node: InProcessNode) -> Writer:
    """A stream in which event 1 is a file's inode, and event 3 the extent with its content."""
    writer = Writer(node, "g/localhost/files").protect()
    writer.send(file_of(CONTENT, b"original", kind="baseline"))
    return writer


@dataclass
class Copy:
    """What a batch says of one copy."""

    from_file: int = 1
    from_lsn: int = 3
    skip: int = 0
    length: int = len(CONTENT)
    digest: bytes = b""
    name: bytes = b"copy"

    def __call__(self, builder: BatchBuilder) -> None:
        digest = self.digest or meant(CONTENT[self.skip : self.skip + self.length])
        file_id = builder.inode(2, None, "f", 0o644, 0, 0, self.length, 2000)
        builder.dentry(2, 0, self.name, file_id)
        builder.copy(2, file_id, 0, self.length, self.from_file, self.from_lsn, self.skip, digest)
        builder.mark(2, "pass", point_class="quiet")


def test_a_copy_is_the_same_bytes_and_stores_none(node: InProcessNode, writer: Writer) -> None:
    packs = objects(node.home, "packs")
    body = writer.batch(Copy())
    assert len(body) < 1000
    assert writer.post(body).status == 200
    assert objects(node.home, "packs") == packs
    assert files_in(node.home, writer) == {b"/original": CONTENT, b"/copy": CONTENT}


def test_copies_of_parts_of_copies_and_beside_new_content(node: InProcessNode, writer: Writer) -> None:
    writer.send(Copy())
    copied = writer.lsn - 1

    def fill(builder: BatchBuilder) -> None:
        file_of(b"x" * 500, b"new")(builder)
        Copy(from_file=copied - 2, from_lsn=copied, skip=100, length=40_000, name=b"part")(builder)
        Copy(name=b"again")(builder)

    writer.send(fill)
    found = files_in(node.home, writer)
    assert found[b"/part"] == CONTENT[100:40_100]
    assert found[b"/again"] == CONTENT
    assert found[b"/new"] == b"x" * 500


def test_copies_of_what_was_merged(node: InProcessNode, writer: Writer) -> None:
    writer.send(Copy(name=b"before"))
    for number in range(4):
        writer.send(file_of(b"%d" % number * 100, b"%d" % number))
    assert compact(node.parts.journal, SYSTEM).merged
    writer.send(Copy(name=b"after"))
    writer.send(file_of(b"more", b"more"))
    assert compact(node.parts.journal, SYSTEM).merged
    found = files_in(node.home, writer)
    assert found[b"/before"] == found[b"/after"] == CONTENT


FORGED: dict[str, Callable[[Writer], Copy]] = {
    "an event of another kind": lambda writer: Copy(from_lsn=2),
    "a hole": lambda writer: Copy(from_lsn=writer.lsn),
    "another file": lambda writer: Copy(from_file=2),
    "longer than it is": lambda writer: Copy(length=len(CONTENT) + 1, digest=bytes(16)),
    "beyond its end": lambda writer: Copy(skip=1, digest=bytes(16)),
    "other bytes": lambda writer: Copy(digest=meant(CONTENT[:-1] + b"?")),
}


@pytest.mark.parametrize("what", FORGED)
def test_a_forged_reference_is_refused_and_recorded(node: InProcessNode, writer: Writer, what: str) -> None:
    def cut(builder: BatchBuilder) -> None:
        builder.hole(2, 1, 10, 10)

    writer.send(cut)
    lsn, prev = writer.lsn, writer.prev
    refused(node, writer.post(writer.batch(FORGED[what](writer))))
    writer.lsn, writer.prev = lsn, prev
    writer.send(Copy())  # nothing stands in the way of a right one
    assert files_in(node.home, writer)[b"/copy"][20:] == CONTENT[20:]


def test_an_event_that_is_not_committed_is_refused(node: InProcessNode, writer: Writer) -> None:
    """One of its own batch or later is no batch at all; one before it that never came is not there."""
    assert writer.post(writer.batch(Copy(from_lsn=writer.lsn + 1), lsn_first=writer.lsn + 1)).status == 422
    ahead = writer.batch(Copy(from_lsn=writer.lsn + 5), lsn_first=writer.lsn + 100)
    refused(node, writer.post(ahead))


def test_content_of_another_stream_is_not_to_be_had(node: InProcessNode, writer: Writer) -> None:
    """What an agent knows of another host's content, be it all of its digests, gives it nothing."""
    for number in range(3):
        writer.send(file_of(b"%d" % number * 10, b"%d" % number))
    other = Writer(node, "g/other/files", host="other").protect()
    other.send(file_of(b"mine", kind="baseline"))
    lsn, prev = other.lsn, other.prev
    refused(node, other.post(other.batch(Copy())))
    other.lsn, other.prev = lsn, prev
    refused(node, other.post(other.batch(Copy(from_lsn=writer.lsn - 1, from_file=writer.lsn - 3), lsn_first=40)))
    assert files_in(node.home, other) == {b"/file": b"mine"}


def test_content_of_a_branch_is_not_that_of_the_history(node: InProcessNode, writer: Writer) -> None:
    """Events with the same LSN in an epoch that the history left behind count for nothing."""
    parent, branch = dict(writer.record), Writer(node, writer.address, name="writer-2")
    writer.send(file_of(b"b" * 1000, b"left behind"))
    left = writer.lsn - 1
    branch.open({**parent, "acknowledged": 0})
    assert branch.epoch == 2
    writer.send(file_of(b"c" * 1000, b"left behind too"))
    after_fork = writer.lsn - 1
    branch.send(Copy())
    asked = Copy(from_file=after_fork - 2, from_lsn=after_fork, length=1000, digest=meant(b"c" * 1000))
    refused(node, branch.post(branch.batch(asked, lsn_first=branch.lsn + 50)))
    branch.send(Copy(from_file=left - 2, from_lsn=left, length=1000, digest=meant(b"b" * 1000), name=b"of b"))
    found = files_in(node.home, branch)
    assert found[b"/copy"] == CONTENT and found[b"/of b"] == b"b" * 1000


def test_bytes_that_are_damaged_are_not_copied(node: InProcessNode, writer: Writer) -> None:
    [pack] = objects(node.home, "packs")
    path = node.home / "journal" / pack
    path.chmod(0o600)
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    refused(node, writer.post(writer.batch(Copy())))


def test_copies_out_of_too_many_frames_are_refused(
    node: InProcessNode, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.send(file_of(os.urandom(1000), b"beside"))
    lsn, prev, other = writer.lsn, writer.prev, writer.lsn - 1
    monkeypatch.setattr(copies, "READ_BYTES_MAX", len(CONTENT) + 500)

    def both(builder: BatchBuilder) -> None:
        Copy()(builder)
        Copy(from_file=other - 2, from_lsn=other, length=1000, name=b"b")(builder)

    refused(node, writer.post(writer.batch(both)))
    writer.lsn, writer.prev = lsn, prev
    writer.send(Copy())


def test_a_check_knows_whose_bytes_a_damaged_pack_holds(node: InProcessNode, writer: Writer) -> None:
    writer.send(Copy(skip=10, length=140_000))
    assert not check(node.parts.journal, read_data=True).errors
    [pack] = objects(node.home, "packs")
    path = node.home / "journal" / pack
    path.chmod(0o600)
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    [error] = check(node.parts.journal, read_data=True).errors
    assert {affected.path for affected in error.affected} == {"/original", "/copy"}


def test_batches_of_version_1_are_read_as_ever_and_have_no_copies(writer: Writer) -> None:
    lsn, prev = writer.lsn, writer.prev
    with pytest.raises(ValueError):
        writer.batch(Copy(), version=1)
    first = writer.batch(file_of(b"x" * 100, b"x"), version=1)
    assert first[8] == 1 and b'"stream"' in first
    assert writer.post(first).status == 200
    writer.lsn, writer.prev = decode(first).lsn_last, decode(first).hash
    assert (writer.lsn, writer.prev) != (lsn, prev)
    copying = bytearray(writer.batch(Copy(), lsn_first=writer.lsn + 1))
    copying[8] = 1
    answer = writer.post(bytes(copying))
    assert (answer.status, answer.error["code"]) == (422, "malformed-batch")


def refused(node: InProcessNode, answer: Answer) -> None:
    assert (answer.status, answer.error["code"]) == (403, "copy-refused"), answer.text
    told = [act["details"]["error"] for act in acts(node.home) if act["what"] == "batch-refused"]
    assert any("refer to event" in each for each in told)
