"""Any history, shipped as batches, committed, merged and checkpointed, still folds like the oracle, bytes included."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.env.clock import SYSTEM
from engine.journal import epochs
from engine.journal.commit import Committer
from engine.journal.data import DataReader
from engine.journal.merge import Rules, merge_due
from engine.journal.open import Journal, open_journal
from engine.model.events import Dentry, Event, Extent, Inode, Mark, Record
from engine.model.extents import Piece
from engine.model.fold import fold, tree
from engine.model.ids import Position
from engine.model.points import Point
from engine.query.checkpoint import build_checkpoint
from engine.query.extents import pieces
from engine.query.session import Session
from engine.query.tree import entries
from engine.store.local import LocalStore
from engine.store.memory import MemoryStore
from engine.wire.batch import NO_HASH, Batch, BatchBuilder, decode

from ..unit.engine.query.plain_journal import ADDRESS, STREAM
from .histories import History, histories

FEW = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
AT_ONCE = Rules(commits_min=2, age_seconds=0.0, segments_min=2, rows_max=60, grace_seconds=0.0)


def content(lsn: int, length: int) -> bytes:
    """The bytes of the extent that was written at an LSN."""
    return bytes((lsn * 31 + index * 7) % 251 for index in range(length))


def batch_of(events: list[Event], epoch: int, prev: bytes) -> Batch:
    builder = BatchBuilder(STREAM, epoch, events[0].lsn, prev)
    for event in events:
        add(builder, event)
    buffers, _ = builder.encode()
    return decode(b"".join(buffers))


def add(builder: BatchBuilder, event: Event) -> None:
    if isinstance(event, Dentry):
        builder.dentry(event.at, event.parent, event.name, event.file_id)
    elif isinstance(event, Inode):
        rest = (event.size, event.mtime_ns, event.rdev, event.target, event.xattrs)
        builder.inode(event.at, event.file_id, event.type, event.mode, event.uid, event.gid, *rest)
    elif isinstance(event, Extent):
        if event.data is None:
            builder.hole(event.at, event.file_id, event.offset, event.length)
        else:
            builder.extent(event.at, event.file_id, event.offset, content(event.lsn, event.length))
    elif isinstance(event, Mark):
        builder.mark(event.at, event.kind, event.label, event.point_class, event.gap_from)
    else:
        assert isinstance(event, Record)
        builder.record(event.at, event.topic, event.payload)


def commit(data: st.DataObject, history: History, journal: Journal) -> None:
    """Every epoch's events in batches of any size, some of them sent twice, with merges in between."""
    stream = epochs.register(journal.store, ADDRESS, SYSTEM)
    journal.keyring.make_group_key(stream.group, SYSTEM)
    for epoch in history.epochs.values():
        epochs.grant(journal.store, STREAM, epoch.number, epoch.parent, epoch.cause, epoch.writer, SYSTEM)
    committer = Committer(journal, "n1")
    try:
        for number in history.epochs:
            rest = [event for epoch, event in history.events if epoch == number]
            prev = NO_HASH
            while rest:
                count = data.draw(st.integers(1, len(rest)))
                batch = batch_of(rest[:count], number, prev)
                for _ in range(data.draw(st.sampled_from([1, 1, 2]))):
                    committer.submit(batch).result(120)
                prev, rest = batch.hash, rest[count:]
            if data.draw(st.booleans()):
                merge_due(journal, SYSTEM, AT_ONCE)
    finally:
        committer.close()


def bytes_of(found: list[Piece], size: int, reader: DataReader) -> bytes:
    body = bytearray(size)
    for piece in found:
        body[piece.offset : piece.offset + piece.length] = reader.read(piece, STREAM)
    return bytes(body)


def written(found: tuple[Piece, ...], size: int) -> bytes:
    """What the oracle's pieces say: the histories put the LSN of an extent into its hash."""
    body = bytearray(size)
    for piece in found:
        whole = content(int.from_bytes(piece.hash, "big"), piece.extent_length)
        body[piece.offset : piece.offset + piece.length] = whole[piece.skip : piece.skip + piece.length]
    return bytes(body)


def agree(session: Session, reader: DataReader, history: History, position: Position) -> None:
    expected = tree(fold(history.at(position)))
    found = {entry.path: entry.inode for entry in entries(session, STREAM, position, recursive=True)}
    assert found == {path: node.inode for path, node in expected.items() if path != b"/"}
    extents = pieces(session, STREAM, position)
    for node in expected.values():
        inode = node.inode
        assert bytes_of(extents.get(inode.file_id, []), inode.size, reader) == written(node.pieces, inode.size)


@FEW
@given(histories(), st.data())
def test_the_journal_gives_back_what_was_shipped(history: History, data: st.DataObject) -> None:
    kept = history.points()
    with tempfile.TemporaryDirectory() as root:
        store = data.draw(st.sampled_from([LocalStore(Path(root) / "journal"), MemoryStore()]))
        with open_journal(store, bytes(32), create=True) as journal:
            commit(data, history, journal)
            reader = DataReader(journal)
            with Session(journal) as session:
                for position in kept:
                    agree(session, reader, history, position)
                chosen = data.draw(st.sampled_from(kept))
                build_checkpoint(session, STREAM, Point(chosen, 1, 1, "quiet"))
                # A session that was open before the merge goes on by listing again.
                merge_due(journal, SYSTEM, AT_ONCE)
                for position in kept:
                    agree(session, reader, history, position)
            with Session(journal) as session:
                for position in kept:
                    agree(session, reader, history, position)
