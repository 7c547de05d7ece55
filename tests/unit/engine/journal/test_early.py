"""Several batches of one stream in flight: whatever the order in which they come, they are committed in their own."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import Future

import pytest

from engine.journal import intake
from engine.journal.commit import Ack, Committer, NotCommitted, OutOfOrder
from engine.journal.open import Journal, open_journal
from engine.model.ids import Address, Position
from engine.store.faults import FaultyStore, before
from engine.store.memory import MemoryStore
from engine.wire.batch import Batch

from .writers import MASTER_KEY, Writer, all_rows


def row(writer: Writer, count: int) -> list[Batch]:
    return [writer.batch(lambda builder, at=at: builder.mark(at, "pass")) for at in range(1, count + 1)]


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_any_order_is_put_right(journal: Journal, committer: Committer, writer: Writer, order: tuple[int, ...]) -> None:
    batches = row(writer, 4)
    futures = [committer.submit(batches[number]) for number in order]
    positions = [future.result(120).position for future in futures]
    assert positions == [Position(1, number + 1) for number in order]
    assert sorted(all_rows(journal).column("at").to_pylist()) == [1, 2, 3, 4]


def test_an_early_one_keeps_other_streams_from_nothing(committer: Committer, writer: Writer) -> None:
    first, second = row(writer, 2)
    waiting = committer.submit(second)
    other = Writer(committer, Address("group", "host", "other"))
    assert other.commit(lambda builder: builder.mark(1, "pass")).position == Position(1, 1)
    assert not waiting.done()
    committer.submit(first).result(120)
    assert waiting.result(120).position == Position(1, 2)


def test_one_whose_predecessor_never_comes_is_refused(
    committer: Committer, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "EARLY_SECONDS", 0.05)
    _, second, third = row(writer, 3)
    for future in [committer.submit(third), committer.submit(second)]:
        with pytest.raises(OutOfOrder) as raised:
            future.result(120)
        assert raised.value.expected is not None and raised.value.expected.position == Position(1, 0)


def test_more_than_may_be_kept_is_refused_at_once(
    committer: Committer, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "EARLY_SECONDS", 600.0)
    monkeypatch.setattr(intake, "EARLY_BYTES_MAX", 10)
    first, second = [writer.batch(lambda builder, at=at: builder.extent(at, 1, 0, b"x" * 20)) for at in (1, 2)]
    with pytest.raises(OutOfOrder):
        committer.submit(second).result(120)
    committer.submit(first).result(120)
    committer.submit(second).result(120)


def test_opening_a_stream_waits_for_no_batch_that_came_early(
    committer: Committer, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "EARLY_SECONDS", 600.0)
    first, second = row(writer, 2)
    stale = committer.submit(second)
    assert writer.open((1, second.lsn_last, second.hash)) == ""
    with pytest.raises(OutOfOrder):
        stale.result(120)
    committer.submit(first).result(120)
    assert committer.submit(second).result(120).position == Position(1, 2)


def test_closing_waits_for_no_batch_that_came_early(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "EARLY_SECONDS", 600.0)
    with Committer(journal, "node-a") as committer:
        stale = committer.submit(row(Writer(committer), 2)[1])
    with pytest.raises(OutOfOrder):
        stale.result(0)


def test_when_one_of_a_row_fails_what_is_acknowledged_is_there_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "EARLY_SECONDS", 0.5)
    monkeypatch.setattr(intake, "COMMIT_BYTES", 1)
    store = FaultyStore(MemoryStore())
    with open_journal(store, MASTER_KEY, create=True) as journal, Committer(journal, "node-a") as committer:
        writer = Writer(committer)
        batches = [
            writer.batch(lambda builder, at=at: builder.extent(at, 1, at, b"%d" % at * 50)) for at in range(1, 5)
        ]
        committer.submit(batches[0]).result(120)
        store.queue("put", before(OSError(5, "input/output error")))
        order = (2, 1, 3)
        errors = [failure(future) for future in [committer.submit(batches[number]) for number in order]]
        # Whether the one that failed is committed is open, and so it is with those behind it; acknowledged is for good.
        assert type(errors[1]) is NotCommitted
        acknowledged = {0} | {number for number, error in zip(order, errors, strict=True) if error is None}
        for number, batch in enumerate(batches):
            assert committer.submit(batch).result(120).duplicate or number not in acknowledged
        assert sorted(all_rows(journal).column("at").to_pylist()) == [1, 2, 3, 4]


def failure(future: Future[Ack]) -> BaseException | None:
    return future.exception(30)


def test_many_writers_of_rows_at_once(journal: Journal, committer: Committer) -> None:
    """Each stream's row is submitted by two threads, one the odd ones, one the even ones."""
    writers = [Writer(committer, Address("group", "host", f"s{number}")) for number in range(4)]
    rows = [row(writer, 40) for writer in writers]
    acks: list[Ack] = []

    def submit(batches: list[Batch]) -> None:
        for batch in batches:
            acks.append(committer.submit(batch).result(120))

    # Two in flight a stream: each thread waits for its own before it sends its next one.
    threads = [threading.Thread(target=submit, args=(batches[part::2],)) for batches in rows for part in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(acks) == 160
    for writer in writers:
        found = [each for each in all_rows(journal).to_pylist() if each["stream"] == writer.stream]
        assert sorted(each["lsn"] for each in found) == list(range(1, 41))
