"""A journal for tests of reads: events written as segments by pyarrow, in a local store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa

from engine.env.clock import SYSTEM
from engine.format import names, parquet
from engine.format.footer import Footer, Run, StreamFooter
from engine.format.schema import EVENTS
from engine.format.tables import sort_events
from engine.journal import epochs as journal_epochs
from engine.journal.files import VerifiedFiles
from engine.model.events import DENTRY, EXTENT, INODE, MARK, RECORD, Dentry, Event, Extent, Inode, Mark
from engine.model.ids import Address, stream_id
from engine.model.lineage import Epoch
from engine.store.local import LocalStore

ADDRESS = Address("finance", "db1", "files")
STREAM = stream_id(ADDRESS)
NODE = "n1"


class PlainJournal:
    """What engine.query needs of a journal: a store and the paths of its objects."""

    def __init__(self, root: Path) -> None:
        self.store = LocalStore(root)
        self.files = VerifiedFiles(self.store)
        self.seen = None
        self.seq = 0

    def add_stream(self, address: Address = ADDRESS, epochs: Sequence[Epoch] = ()) -> str:
        stream = journal_epochs.register(self.store, address, SYSTEM).id
        for epoch in epochs or (Epoch(1, None, "first", "a", 1),):
            self.add_epoch(epoch, stream)
        return stream

    def add_epoch(self, epoch: Epoch, stream: str = STREAM) -> None:
        journal_epochs.grant(self.store, stream, epoch.number, epoch.parent, epoch.cause, epoch.writer, SYSTEM)

    def commit(self, events: Iterable[Event], epoch: int = 1, stream: str = STREAM) -> str:
        """One L0 segment of consecutive events; answers its key."""
        rows = [row(event, epoch, stream) for event in events]
        table = sort_events(pa.Table.from_pylist(rows, schema=EVENTS))
        lsns = [row["lsn"] for row in rows]
        self.seq += 1
        run = Run(epoch, min(lsns), max(lsns), "", "")
        footer = Footer(NODE, 1, self.seq, self.seq, 1, 1, "", streams={stream: StreamFooter((run,), 1)})
        content = parquet.encode(table, footer.encode())
        key = names.l0_key(NODE, 1, self.seq, memoryview(content))
        self.store.put(key, memoryview(content))
        return key


def row(event: Event, epoch: int, stream: str = STREAM) -> dict[str, object]:
    """An event as a row of EVENTS; committed 10 microseconds after it happened."""
    base: dict[str, object] = {
        "stream": stream,
        "epoch": epoch,
        "lsn": event.lsn,
        "at": event.at,
        "committed_at": event.at + 10,
        "subject": 0,
    }
    if isinstance(event, Dentry):
        return base | {"kind": DENTRY, "subject": event.parent, "name": event.name, "file_id": event.file_id}
    if isinstance(event, Inode):
        fields = ("mode", "uid", "gid", "size", "mtime_ns", "rdev", "target", "xattrs")
        values = {name: getattr(event, name) for name in fields}
        return base | {"kind": INODE, "subject": event.file_id, "type": ord(event.type)} | values
    if isinstance(event, Extent):
        values = {"kind": EXTENT, "subject": event.file_id, "offset": event.offset, "length": event.length}
        if event.data is not None:
            data = event.data
            values |= {"pack": data.pack, "frame": data.frame, "frame_bytes": data.frame_bytes, "skip": data.skip}
            values["hash"] = event.hash
        return base | values
    if isinstance(event, Mark):
        fields = ("label", "point_class", "gap_from")
        return base | {"kind": MARK, "mark": event.kind} | {name: getattr(event, name) for name in fields}
    return base | {"kind": RECORD, "mark": event.topic, "payload": event.payload}
