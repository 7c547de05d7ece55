"""The store fails at its Nth call, for every N, once and for good: nothing acknowledged is lost, nothing is torn."""

from __future__ import annotations

import itertools
from concurrent.futures import Future

import pytest

from engine.journal import intake, l0, pace, segments
from engine.journal.commit import Ack, Committer, NotCommitted, OutOfOrder
from engine.journal.open import open_journal
from engine.store import faults
from engine.store.faults import FaultyStore
from engine.store.memory import MemoryStore
from engine.wire.batch import Batch

from .writers import MASTER_KEY, Writer, all_rows, file_of

BATCHES = 6


def send(committer: Committer, batches: list[Batch]) -> list[Batch]:
    """Submit all at once; those that were acknowledged."""
    futures: list[Future[Ack]] = [committer.submit(batch) for batch in batches]
    done = []
    for future, batch in zip(futures, batches, strict=True):
        try:
            future.result(120)
            done.append(batch)
        except (NotCommitted, OutOfOrder):
            pass
    return done


def attempt(number: int, fault: faults.Fault, *, lasting: bool) -> bool:
    """One run with a fault at call `number`; whether the fault was met at all."""
    memory = MemoryStore()
    store = FaultyStore(memory)
    with open_journal(store, MASTER_KEY, create=True) as journal:
        committer = Committer(journal, "node-a")
        writer = Writer(committer)
        batches = [writer.batch(file_of(b"%d" % n * 1000, b"file%d" % n, n)) for n in range(BATCHES)]
        met_at = len(store.calls) + number
        store.at_call(number, fault, lasting=lasting)
        acknowledged = send(committer, batches)
        met = len(store.calls) >= met_at
        check_nothing_is_lost(memory, acknowledged)
        store.heal()
        # The agent sends again what was not acknowledged, from where it is told to go on.
        for batch in batches:
            if batch not in acknowledged:
                committer.submit(batch).result(120)
        committer.close()
    check_nothing_is_lost(memory, batches)
    return met


def check_nothing_is_lost(memory: MemoryStore, acknowledged: list[Batch]) -> None:
    """A new process finds every acknowledged batch, no holes, and for each LSN one content."""
    with open_journal(memory, MASTER_KEY) as journal:
        visible = segments.visible(memory)
        assert not visible.holes
        if visible.segments:
            lsns = all_rows(journal).column("lsn").to_pylist()
            assert len(lsns) == len(set(lsns))
            for batch in acknowledged:
                assert set(range(batch.lsn_first, batch.lsn_last + 1)) <= set(lsns)
            assert sorted(lsns) == list(range(1, len(lsns) + 1))
        else:
            assert not acknowledged


@pytest.mark.parametrize("overlapping", [False, True], ids=["few commits", "overlapping commits"])
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize("fault", [faults.before, faults.after], ids=["nothing done", "answer lost"])
def test_every_call_may_fail(fault: object, lasting: bool, overlapping: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if overlapping:  # each batch is a commit, sealed and written while the one before is being synced
        monkeypatch.setattr(intake, "COMMIT_BYTES", 1)
        monkeypatch.setattr(pace, "EARLY_BYTES", 1)
        monkeypatch.setattr(l0, "OVERLAP_BYTES", 1)
    for number in itertools.count(1):
        if not attempt(number, fault(OSError(5, "input/output error")), lasting=lasting):  # type: ignore[operator]
            break
    assert number > 4


def test_a_full_store_says_so() -> None:
    store = FaultyStore(MemoryStore())
    with open_journal(store, MASTER_KEY, create=True) as journal, Committer(journal, "node-a") as committer:
        writer = Writer(committer)
        store.queue("put", faults.before(OSError(28, "no space left on device")))
        with pytest.raises(NotCommitted) as raised:
            writer.commit(lambda builder: builder.mark(1, "pass"))
        assert raised.value.no_space


def test_after_a_failure_a_new_boot_goes_on() -> None:
    store = FaultyStore(MemoryStore())
    with open_journal(store, MASTER_KEY, create=True) as journal, Committer(journal, "node-a") as committer:
        writer = Writer(committer)
        writer.commit(file_of(b"one"))
        boot = committer.boot
        batch = writer.batch(file_of(b"two"))
        store.queue("commit", faults.before(OSError(5, "input/output error")))
        with pytest.raises(NotCommitted):
            committer.submit(batch).result(120)
        assert not committer.submit(batch).result(120).duplicate
        assert committer.boot == boot + 1
        store.queue("put", faults.after(OSError(5, "input/output error")))
        batch = writer.batch(file_of(b"three"))
        with pytest.raises(NotCommitted):
            committer.submit(batch).result(120)
        # The segment had been written after all: the batch is known, not committed twice.
        assert committer.submit(batch).result(120).duplicate
