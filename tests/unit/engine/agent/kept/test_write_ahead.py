"""Commits are made at once and become durable apart from that, before their batch is sent."""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Site, wait_for

from engine.agent.kept import write_ahead
from engine.agent.kept.record import Record
from engine.agent.kept.write_ahead import WriteAhead


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    made = Record(tmp_path / "record.sqlite")
    yield made
    made.close()


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of what was synced."""
    paths: list[str] = []
    real = os.fdatasync

    def noted(fd: int) -> None:
        paths.append(os.readlink(f"/proc/self/fd/{fd}"))
        real(fd)

    monkeypatch.setattr(write_ahead.os, "fdatasync", noted)
    return paths


def test_one_sync_serves_all_that_was_written_before(record: Record, synced: list[str], tmp_path: Path) -> None:
    numbers = []
    for value in range(5):
        record.set_fact("value", value)
        numbers.append(record.write())
    assert not synced
    record.sync(numbers[1])
    record.sync(numbers[4])
    record.sync(numbers[0])
    assert synced == [str(tmp_path / "record.sqlite-wal")]


def test_what_was_written_is_read_by_who_opens_the_record_after_a_crash(record: Record, tmp_path: Path) -> None:
    record.set_fact("value", 7)
    record.write()
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in tmp_path.glob("record.sqlite*"):
        (copy / path.name).write_bytes(path.read_bytes())
    with sqlite3.connect(copy / "record.sqlite") as db:
        assert db.execute("SELECT value FROM facts WHERE name = 'value'").fetchone() == (7,)


def test_a_commit_syncs_and_a_lazy_one_only_what_must_not_be_lost(record: Record, synced: list[str]) -> None:
    record.set_fact("value", 1)
    record.commit()
    assert len(synced) == 1
    record.set_fact("value", 2)
    record.commit(lazily=True)
    assert len(synced) == 1
    record.put_name(1, b"name", 2, 3)
    record.write()
    record.commit(lazily=True)
    assert len(synced) == 2, "what was written before is to be durable by now"


def test_after_a_sync_that_failed_nothing_is_called_durable(
    record: Record, monkeypatch: pytest.MonkeyPatch, synced: list[str]
) -> None:
    def failing(fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    number = record.write()
    with monkeypatch.context() as patched:
        patched.setattr(write_ahead.os, "fdatasync", failing)
        with pytest.raises(OSError, match="Input/output"):
            record.sync(number)
    with pytest.raises(OSError, match="Input/output"):
        record.sync(number)
    with pytest.raises(OSError, match="Input/output"):
        record.commit(lazily=True)
    assert not synced


def test_nothing_is_synced_once_it_is_closed(record: Record, synced: list[str]) -> None:
    number = record.write()
    record.close()
    with pytest.raises(OSError, match="closed"):
        record.sync(number)
    assert not synced


def test_a_batch_waits_for_its_record_and_capture_does_not(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.start()
    site.settle()
    may, sync = threading.Event(), WriteAhead.sync

    def waiting(self: WriteAhead, number: int) -> None:
        if threading.current_thread().name.startswith("ship"):
            may.wait(60)
        sync(self, number)

    monkeypatch.setattr(WriteAhead, "sync", waiting)
    sent = len(site.node.sent_hashes)
    (site.tree / "first").write_bytes(b"first")
    wait_for(lambda: site.source.view.pending)
    had = site.source.view.pending
    (site.tree / "second").write_bytes(b"second")
    try:
        wait_for(lambda: site.source.view.pending > had)
        time.sleep(0.1)  # long enough for a batch to reach the node, if it were sent
        assert len(site.node.sent_hashes) == sent
    finally:
        may.set()
    site.settle()
