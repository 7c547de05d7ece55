"""Committing: what is acknowledged is there, in order, whole; what does not continue its stream is refused."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from engine.env.clock import Clock
from engine.format import names
from engine.journal import segments
from engine.journal.commit import Committer, Conflict, OutOfOrder
from engine.journal.data import DataReader
from engine.journal.open import Journal
from engine.model.errors import Refused
from engine.model.events import EXTENT, DataRef
from engine.model.extents import Piece
from engine.model.ids import Address, Position
from engine.wire.batch import NO_HASH, BatchBuilder, decode
from engine.wire.errors import Malformed

from .writers import Writer, all_rows, file_of


def read_back(journal: Journal, stream: str) -> dict[int, bytes]:
    """Every extent of a stream by LSN, its hash compared."""
    reader = DataReader(journal)
    found = {}
    for row in all_rows(journal).to_pylist():
        if row["stream"] == stream and row["kind"] == EXTENT and row["pack"] is not None:
            ref = DataRef(row["pack"], row["frame"], row["frame_bytes"], row["skip"])
            piece = Piece(row["offset"], row["length"], ref, 0, row["length"], row["hash"])
            found[row["lsn"]] = bytes(reader.read(piece, stream))
    return found


def test_what_is_acknowledged_is_there(journal: Journal, writer: Writer) -> None:
    content = os.urandom(250_000) + b"text " * 1000
    ack = writer.commit(file_of(content))
    assert (ack.position, ack.duplicate) == (Position(1, writer.lsn), False)
    assert b"".join(read_back(journal, writer.stream).values()) == content
    rows = all_rows(journal)
    assert sorted(rows.column("lsn").to_pylist()) == list(range(1, writer.lsn + 1))
    assert set(rows.column("committed_at").to_pylist()) == {ack.committed_at}


def test_batches_of_many_streams_share_commits_and_stay_in_order(journal: Journal, committer: Committer) -> None:
    writers = [Writer(committer, Address("group", "host", f"s{n}")) for n in range(8)]
    sent: dict[str, list[bytes]] = {writer.stream: [] for writer in writers}
    futures = []
    with ThreadPoolExecutor(2) as pool:
        for number in range(30):
            for writer in writers:
                content = os.urandom(300) * (number + 1)
                sent[writer.stream].append(content)
                batch = writer.batch(lambda builder, content=content, at=number: builder.extent(at, 1, 0, content))
                futures.append((pool.submit(committer.submit, batch), batch))
        # Two threads may swap neighbours: those are refused with the head, and sent again, as an agent does.
        for submitted, batch in futures:
            try:
                submitted.result().result(120)
            except OutOfOrder:
                committer.submit(batch).result(120)
    for writer in writers:
        assert list(read_back(journal, writer.stream).values()) == sent[writer.stream]
    visible = segments.visible(journal.store)
    assert not visible.holes
    assert [segment.seq_first for segment in visible.segments] == list(range(1, len(visible.segments) + 1))


def test_the_commits_are_chained(journal: Journal, committer: Committer, writer: Writer) -> None:
    for number in range(5):
        writer.commit(lambda builder, number=number: builder.mark(number, "pass"))
    committer.close()
    with Committer(journal, "node-a") as again:
        Writer(again, name="other").commit(lambda builder: builder.mark(9, "pass"))
    previous = ""
    for segment, footer in segments.footers(journal):
        assert footer.prev == previous
        previous = segment.hash
    assert len({segment.boot for segment in segments.visible(journal.store).segments}) == 2


def test_heads_come_back_after_a_restart(journal: Journal, committer: Committer, writer: Writer) -> None:
    for number in range(3):
        last = writer.batch(lambda builder, number=number: builder.mark(number, "pass"))
        ack = committer.submit(last).result(120)
    committer.watermark(writer.stream, 12345)
    before = committer.heads()[writer.stream]
    committer.close()
    with Committer(journal, "node-a") as again:
        head = again.heads()[writer.stream]
        assert (head.position, head.hash, head.through_at) == (ack.position, writer.prev, 12345)
        assert before.through_at == 12345
        repeated = again.submit(last).result(120)
        assert repeated.duplicate and repeated.position == ack.position
        writer.committer = again
        assert writer.commit(lambda builder: builder.mark(9, "pass")).position == Position(1, 4)


def test_the_same_batch_again_is_acknowledged_as_a_duplicate(committer: Committer, writer: Writer) -> None:
    batches = [writer.batch(lambda builder: builder.mark(1, "pass")) for _ in range(3)]
    acks = [committer.submit(batch).result(120) for batch in batches]
    for batch, ack in zip(batches, acks, strict=True):
        repeated = committer.submit(batch).result(120)
        assert repeated.duplicate and (repeated.position, repeated.committed_at) == (ack.position, ack.committed_at)


def test_a_batch_that_leaves_one_out_is_told_where_to_go_on(committer: Committer, writer: Writer) -> None:
    first = writer.batch(lambda builder: builder.mark(1, "pass"))
    second = writer.batch(lambda builder: builder.mark(2, "pass"))
    with pytest.raises(OutOfOrder) as raised:
        committer.submit(second).result(120)
    assert raised.value.expected is not None and raised.value.expected.position == Position(1, 0)
    committer.submit(first).result(120)
    committer.submit(second).result(120)


def test_other_content_for_the_same_events_is_refused(journal: Journal, committer: Committer, writer: Writer) -> None:
    writer.commit(lambda builder: builder.mark(1, "pass", "true"))
    forged = BatchBuilder(writer.stream, 1, 1, NO_HASH)
    forged.mark(1, "pass", "forged")
    with pytest.raises(Conflict):
        committer.submit(decode(b"".join(forged.encode()[0]))).result(120)
    assert all_rows(journal).column("label").to_pylist() == ["true"]


def test_a_writer_whose_past_differs_is_refused(committer: Committer, writer: Writer) -> None:
    writer.commit(lambda builder: builder.mark(1, "pass"))
    writer.prev = b"\1" * 16
    with pytest.raises(OutOfOrder):
        writer.commit(lambda builder: builder.mark(2, "pass"))


def test_unknown_streams_and_epochs_are_refused(committer: Committer, writer: Writer) -> None:
    batch = writer.batch(lambda builder: builder.mark(1, "pass"))
    stranger = BatchBuilder("00" * 8, 1, 1, NO_HASH)
    stranger.mark(1, "pass")
    with pytest.raises(Refused, match="not registered"):
        committer.submit(decode(b"".join(stranger.encode()[0]))).result(120)
    future = BatchBuilder(writer.stream, 7, 1, NO_HASH)
    future.mark(1, "pass")
    with pytest.raises(OutOfOrder):
        committer.submit(decode(b"".join(future.encode()[0]))).result(120)
    committer.submit(batch).result(120)


@pytest.mark.parametrize("name", [b"..", b".", b"", b"a/b", b"/", b"a\0b"])
def test_names_that_lead_elsewhere_are_malformed(journal: Journal, writer: Writer, name: bytes) -> None:
    with pytest.raises(Malformed):
        writer.commit(lambda builder: builder.dentry(1, 0, name, None))
    assert not segments.visible(journal.store).segments


def test_late_batches_of_an_older_epoch_become_a_branch(committer: Committer, writer: Writer) -> None:
    writer.commit(lambda builder: builder.mark(1, "pass"))
    other = Writer(committer, writer.address, name="other")
    assert (other.epoch, other.lsn, other.prev) == (2, 1, NO_HASH)
    other.commit(lambda builder: builder.mark(2, "pass"))
    late = writer.commit(lambda builder: builder.mark(3, "pass"))
    assert late.position == Position(1, 2)
    assert committer.heads()[writer.stream].position == Position(2, 2)


def test_opening_again_continues_or_begins_an_epoch(committer: Committer, writer: Writer) -> None:
    writer.commit(lambda builder: builder.mark(1, "pass"))
    record = (writer.epoch, writer.lsn, writer.prev)
    writer.commit(lambda builder: builder.mark(2, "pass"))
    now = (writer.epoch, writer.lsn, writer.prev)
    assert writer.open(now) == ""
    assert (writer.epoch, writer.lsn, writer.prev) == now
    assert writer.open((1, 9, b"\1" * 16)) == ""  # it has spooled more than it has sent
    assert writer.open(record) == "record behind"
    assert (writer.epoch, writer.lsn) == (2, 2)
    assert writer.open(now) == "record behind"  # granted, never written to: the same epoch again
    assert writer.epoch == 2
    writer.commit(lambda builder: builder.mark(3, "pass"))
    assert writer.open(None) == "record lost"
    assert (writer.epoch, writer.lsn) == (3, 3)


class Turned(Clock):
    """Seconds since the boot go on when a test says so."""

    seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


def test_watermarks_go_along_and_idle_ones_get_a_commit(journal: Journal) -> None:
    clock = Turned()
    with Committer(journal, "node-b", clock=clock, idle_seconds=0.05) as committer:
        writer = Writer(committer)
        committer.watermark(writer.stream, 100)
        writer.commit(lambda builder: builder.mark(1, "pass"))
        committer.watermark(writer.stream, 200)
        clock.seconds += 1
        wait_until(lambda: len(segments.visible(journal.store).segments) == 2)
    entries = [footer.streams[writer.stream] for _, footer in segments.footers(journal)]
    assert [entry.through_at for entry in entries] == [100, 200]
    assert [len(entry.runs) for entry in entries] == [1, 0]


def test_closing_commits_how_far_idle_streams_are_complete(journal: Journal) -> None:
    with Committer(journal, "node-b", idle_seconds=3600) as committer:
        writer = Writer(committer)
        writer.commit(lambda builder: builder.mark(1, "pass"))
    with Committer(journal, "node-b", idle_seconds=3600) as committer:
        committer.watermark(writer.stream, 700)
    with Committer(journal, "node-b") as committer:
        assert committer.heads()[writer.stream].through_at == 700


def test_commits_without_content_have_no_pack(journal: Journal, committer: Committer, writer: Writer) -> None:
    writer.commit(lambda builder: builder.hole(1, 1, 0, 100))
    committer.close()
    assert [item.key for item in journal.store.list(names.PACKS)] == []
    row = all_rows(journal).to_pylist()[0]
    assert (row["pack"], row["frame"], row["hash"]) == (None, None, None)


def test_closing_commits_what_was_submitted(journal: Journal) -> None:
    committer = Committer(journal, "node-a")
    writer = Writer(committer)
    futures = [committer.submit(writer.batch(lambda builder: builder.mark(1, "pass"))) for _ in range(50)]
    committer.close()
    assert [future.result(0).position.lsn for future in futures] == list(range(1, 51))


def wait_until(condition: object, seconds: float = 120.0) -> None:
    clock = Clock()
    until = clock.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert clock.monotonic() < until, "it did not happen in time"
        clock.sleep(0.01)
