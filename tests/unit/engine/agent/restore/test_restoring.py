"""Receiving a restore from first call to last: resumed, replanned, stopped, refused; and what a node is told of it."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from engine.agent.restore import restoring
from engine.agent.restore import state as restore_state
from engine.agent.restore.client import Stopped
from engine.agent.restore.restoring import Job, receive
from engine.journal.commit import Committer
from engine.journal.open import Journal, open_journal
from engine.model.errors import Failed, Refused
from engine.model.ids import Address
from engine.model.points import Point
from engine.query import streams
from engine.query.session import Session
from engine.recovery.restoring import pieces_of, prepare_for
from engine.recovery.sending import TARGET, Sending
from engine.store.local import LocalStore
from engine.wire.batch import Batch, BatchBuilder, decode

FILES = 40


class Killed(BaseException):
    """Stands for SIGKILL: nobody catches it."""


class Node:
    """A node's side of one restore without HTTP. `before` is called with each batch's number before it is given."""

    def __init__(self, sending: Sending) -> None:
        self.sending = sending
        self.told: list[Mapping[str, Any]] = []
        self.asked: list[int] = []
        self.state = "open"
        self.before: Any = lambda number: None

    def plan(self) -> dict[str, Any]:
        return {"steps": self.sending.steps, "fingerprint": self.sending.fingerprint.hex(), "files": FILES}

    def batch(self, number: int, fingerprint: str, *, data: bool = True) -> Batch:
        if fingerprint != self.sending.fingerprint.hex():
            raise Refused("another plan", details={"state": "replanned"})
        self.before(number)
        self.asked.append(number)
        return decode(b"".join(self.sending.batch(number, data=data)))

    def progress(self, body: Mapping[str, Any]) -> str:
        self.told.append(json.loads(json.dumps(body)))
        return self.state


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with open_journal(LocalStore(tmp_path / "journal"), bytes(range(32)), create=True) as journal:
        yield journal


@pytest.fixture
def sending(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> Sending:
    """Files in many small batches: content of every third is shared with its neighbour's frame."""
    from engine.plan import restore_batches

    monkeypatch.setattr(restore_batches, "FILES_MAX", 2)
    with Committer(journal, "n1") as committer:
        stream = committer.register(Address("g", "a", "files")).id
        head = committer.open_stream(stream, "w", None).head
        builder = BatchBuilder(stream, head.epoch, head.lsn + 1, head.hash)
        top = builder.inode(1, None, "d", 0o751, os.getuid(), os.getgid(), 0, 5_000_000_001)
        builder.dentry(1, 0, b"srv", top)
        for number in range(FILES):
            data = content(number)
            file_id = builder.inode(1, None, "f", 0o640, os.getuid(), os.getgid(), len(data), 7)
            builder.dentry(1, top, b"f%02d" % number, file_id)
            if data:
                builder.extent(1, file_id, 0, data)
        builder.mark(1, "baseline", point_class="quiet")
        buffers, _ = builder.encode()
        ack = committer.submit(decode(b"".join(buffers))).result(120)
    return made(journal, stream, Point(ack.position, 1, 0, "quiet"))


def content(number: int) -> bytes:
    return (b"%02d" % number) * (number * 997 % 40_000)


def made(journal: Journal, stream: str, point: Point) -> Sending:
    with Session(journal) as session:
        prepared = prepare_for(journal, session, streams.info(journal, stream), point, b"/srv", TARGET)
        return Sending(journal, "0" * 16, stream, prepared.plan, pieces_of(session, prepared))


def run(node: Node, job: Job, stopping: threading.Event | None = None) -> dict[str, Any]:
    return receive(node, job, stopping or threading.Event())  # type: ignore[arg-type]


def as_it_was(target: Path) -> None:
    found = {path.name: path.read_bytes() for path in (target / "srv").iterdir()}
    assert found == {f"f{number:02d}": content(number) for number in range(FILES)}
    assert (target / "srv").stat().st_mtime_ns == 5_000_000_001


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(os.fsencode(tmp_path / "target"), True, state=tmp_path / "state.json", guarded=False)


def test_a_restore_from_beginning_to_end(sending: Sending, job: Job, tmp_path: Path) -> None:
    node = Node(sending)
    outcome = run(node, job)
    as_it_was(tmp_path / "target")
    assert (outcome["files"], outcome["verified"], outcome["read_back"]) == (FILES, True, True)
    assert node.told[-1] == {"outcome": outcome}
    assert {told.get("phase") for told in node.told} >= {"writing", "syncing"}


@pytest.mark.parametrize("at", range(0, FILES // 2, 3))
def test_who_was_killed_goes_on_where_it_was(
    sending: Sending, job: Job, tmp_path: Path, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restoring, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(restoring, "SAVE_SHARE", 0)
    monkeypatch.setattr(restoring, "AHEAD", 1)
    node = Node(sending)

    def kill(number: int) -> None:
        if number == at:
            raise Killed

    node.before = kill
    with pytest.raises(Killed):
        run(node, job)
    assert job.state is not None and (known := restore_state.load(job.state)) is not None and known.next == at
    again = Node(sending)
    outcome = run(again, job)
    as_it_was(tmp_path / "target")
    assert (outcome["files"], outcome["verified"]) == (FILES, True)
    fetched = again.asked[: again.asked.index(len(sending) - 1) + 1]
    assert fetched == sorted({*range(at, len(sending)), *([0] if at else [])})


def test_after_another_boot_everything_is_written_again(
    sending: Sending, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node(sending)
    node.before = _killing_at(9)
    with pytest.raises(Killed):
        run(node, job)
    monkeypatch.setattr(restore_state, "boot_id", lambda: "another")
    torn = next((tmp_path / "target" / "srv").iterdir())
    torn.write_bytes(b"")  # what a power cut may leave of a file that was not synced
    again = Node(sending)
    assert run(again, job)["files"] == FILES and again.asked[0] == 0
    as_it_was(tmp_path / "target")


def _killing_at(at: int) -> Any:
    def kill(number: int) -> None:
        if number == at:
            raise Killed

    return kill


def test_a_node_that_planned_anew_is_followed(sending: Sending, job: Job, tmp_path: Path) -> None:
    node = Node(sending)
    right, changed = sending.fingerprint, threading.Event()

    def plan_anew(number: int) -> None:
        if number == 7 and not changed.is_set():
            changed.set()
            sending.fingerprint = bytes(16)
            raise Refused("another plan", details={"state": "replanned"})

    node.before = plan_anew
    outcome = run(node, job)
    as_it_was(tmp_path / "target")
    assert outcome["files"] == FILES and outcome["names"] == FILES + 1 and right != sending.fingerprint


def test_once_it_is_cancelled_nothing_more_is_written_and_what_is_there_stays(
    sending: Sending, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restoring, "TELL_SECONDS", 0.0)
    node = Node(sending)

    def cancel(number: int) -> None:
        node.state = "cancelled" if number >= 8 else "open"

    node.before = cancel
    with pytest.raises(Stopped):
        run(node, job)
    there = len(os.listdir(tmp_path / "target" / "srv"))
    assert 0 < there < FILES and "outcome" not in node.told[-1]
    usual = tmp_path.stat().st_mode & 0o777, (tmp_path / "target").stat().st_mode & 0o777
    assert usual[1] != 0o700 or usual[0] == 0o700


def test_who_is_told_to_stop_stops(sending: Sending, job: Job) -> None:
    stopping = threading.Event()
    node = Node(sending)
    node.before = lambda number: stopping.set() if number >= 5 else None
    with pytest.raises(Stopped):
        run(node, job, stopping)


def test_a_refusal_is_told_to_the_node(sending: Sending, job: Job, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "x").write_bytes(b"")
    node = Node(sending)
    with pytest.raises(Refused):
        run(node, job)
    [told] = node.told
    assert told["error"]["code"] == "refused" and "not empty" in told["error"]["message"] and node.asked == []


def test_damage_is_told_and_the_rest_arrives(sending: Sending, job: Job, journal: Journal, tmp_path: Path) -> None:
    pack = next((tmp_path / "journal" / "packs").rglob("0*"))
    with pack.open("r+b") as file:
        file.seek(pack.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    outcome = run(Node(sending), job)
    assert outcome["damaged"] and not outcome["verified"] and 0 < outcome["files"] < FILES
    assert outcome["failures_count"] == FILES - outcome["files"]
    there = {path.name: path.read_bytes() for path in (tmp_path / "target" / "srv").iterdir()}
    assert len(there) == outcome["files"] and all(data == content(int(name[1:])) for name, data in there.items())


@pytest.mark.parametrize("error", [Failed("the line is gone for good"), KeyError("what nobody thought of")])
def test_a_failure_half_way_is_told_with_what_was_done(sending: Sending, job: Job, error: Exception) -> None:
    node = Node(sending)

    def fail(number: int) -> None:
        if number == 9:
            raise error

    node.before = fail
    with pytest.raises(Failed):
        run(node, job)
    told = node.told[-1]
    assert told["error"]["code"] == "failed" and 0 < told["done"]["files"] < FILES
    assert str(error).strip("'") in told["error"]["message"]
