"""Writers that build batches as agents do, for tests of what takes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from engine.format import parquet
from engine.journal import segments
from engine.journal.commit import Ack, Committer
from engine.journal.open import Journal
from engine.model.ids import Address
from engine.wire.batch import Batch, BatchBuilder, decode

MASTER_KEY = bytes(range(32))


@dataclass
class Writer:
    """One stream's agent: builds the next batch from a function that fills it."""

    committer: Committer
    address: Address = field(default_factory=lambda: Address("group", "host", "files"))
    name: str = "writer"
    stream: str = ""
    epoch: int = 0
    lsn: int = 0
    prev: bytes = b""

    def __post_init__(self) -> None:
        self.stream = self.committer.register(self.address).id
        self.open(None)

    def open(self, record: tuple[int, int, bytes] | None) -> str:
        opened = self.committer.open_stream(self.stream, self.name, record)
        self.epoch, self.lsn, self.prev = opened.head.epoch, opened.head.lsn, opened.head.hash
        return opened.cause

    def batch(self, fill: Callable[[BatchBuilder], Any]) -> Batch:
        """The next batch, not yet sent."""
        builder = BatchBuilder(self.stream, self.epoch, self.lsn + 1, self.prev)
        fill(builder)
        parts, digest = builder.encode()
        self.lsn, self.prev = builder.lsn_next - 1, digest
        return decode(b"".join(parts))

    def commit(self, fill: Callable[[BatchBuilder], Any]) -> Ack:
        return self.committer.submit(self.batch(fill)).result(120)


def file_of(content: bytes, name: bytes = b"file", at: int = 1) -> Callable[[BatchBuilder], None]:
    """A filler: one new file below the root, its content, and a pass mark."""

    def fill(builder: BatchBuilder) -> None:
        file_id = builder.inode(at, None, "f", 0o644, 0, 0, len(content), at * 1000)
        builder.dentry(at, 0, name, file_id)
        for offset in range(0, len(content), 100_000):
            builder.extent(at, file_id, offset, content[offset : offset + 100_000])
        builder.mark(at, "pass", point_class="quiet")

    return fill


def all_rows(journal: Journal) -> pa.Table:
    """Every visible event."""
    found = segments.visible(journal.store).segments
    return pa.concat_tables([parquet.read_events(journal.files.path(each.key), each.key) for each in found])
