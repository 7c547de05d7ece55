"""A node in memory: the rules of sequence, and faults on demand. Keeps every event with its bytes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from engine.agent.ship.client import CopyRefused, Head, OutOfOrder
from engine.env.clock import SYSTEM
from engine.model import events as ev
from engine.model.errors import Refused, Unreachable
from engine.model.fold import State, fold, tree
from engine.wire.batch import NO_HASH, Batch, decode, meant
from engine.wire.frames import open_frame


@dataclass
class FakeNode:
    """Use `connect` as a source's; the attributes are for the test to read and to set."""

    events: list[ev.Event] = field(default_factory=list)
    data: dict[tuple[str, int], bytes] = field(default_factory=dict)
    head: Head = field(default_factory=lambda: Head(0, 0, NO_HASH, batch_version=2))
    sent_hashes: dict[int, bytes] = field(default_factory=dict)
    committed_at: dict[int, int] = field(default_factory=dict)
    raw_bytes: int = 0
    copied_bytes: int = 0
    copies_refused: int = 0
    refuse_copies: bool = False
    writer: str = ""
    away: bool = False
    refuse: bool = False
    lose_answers: int = 0
    opened: list[dict[str, Any] | None] = field(default_factory=list)
    statuses: list[dict[str, Any]] = field(default_factory=list)
    sources: list[dict[str, Any]] = field(default_factory=list)
    marks: list[dict[str, Any]] = field(default_factory=list)
    agent: dict[str, Any] | None = None
    generation: int = 1
    ahead: int = 0
    """Microseconds by which its clock, so the site's, was set."""
    lock: threading.Condition = field(default_factory=threading.Condition)
    on_batch: Callable[[Batch], None] = lambda batch: None

    def connect(self) -> FakeNode:
        return self

    def close(self) -> None:
        pass

    def _answer(self) -> None:
        if self.away:
            raise Unreachable("the node is away")

    def _now(self) -> int:
        return SYSTEM.now() + self.ahead

    def hello(self, host: str, facts: Mapping[str, Any]) -> dict[str, Any]:
        self._answer()
        return {"time": self._now(), "generation": self.generation}

    def desired(self, host: str, generation: int, wait_seconds: float) -> dict[str, Any]:
        self._answer()
        with self.lock:
            self.lock.wait_for(lambda: generation != self.generation, wait_seconds)
            return {
                "generation": self.generation,
                "time": self._now(),
                "sources": list(self.sources),
                "marks": list(self.marks),
                **({"agent": self.agent} if self.agent is not None else {}),
            }

    def change(self, **what: Any) -> None:
        """Change the desired state."""
        with self.lock:
            for name, value in what.items():
                setattr(self, name, value)
            self.generation += 1
            self.lock.notify_all()

    def open_stream(self, stream: str, host: str, writer: str, record: Mapping[str, Any] | None) -> Head:
        self._answer()
        with self.lock:
            self.opened.append(dict(record) if record else None)
            cause = self._cause(writer, record)
            if cause:
                self.head = replace(self.head, epoch=self.head.epoch + 1)
                self.writer = writer
            return replace(self.head, cause=cause)

    def _cause(self, writer: str, record: Mapping[str, Any] | None) -> str:
        """Why a new epoch is due, by the rules of a real node."""
        if not self.head.epoch:
            return "first"
        if self.writer != writer:
            return "another writer"
        if self.head.hash == NO_HASH:
            return ""
        if record is None:
            return "record lost"
        if record["epoch"] != self.head.epoch:
            return "record of another epoch"
        if record["acknowledged"] > self.head.lsn:
            return "acknowledged events are missing"
        if record["lsn"] < self.head.lsn:
            return "record behind"
        differs = record["lsn"] == self.head.lsn and bytes.fromhex(record["hash"]) != self.head.hash
        return "record differs" if differs else ""

    def send(self, stream: str, host: str, buffers: Sequence[bytes], left: Callable[[], None] = lambda: None) -> None:
        left()
        self._answer()
        if self.refuse:
            raise Refused("the node refuses")
        batch = decode(b"".join(buffers))
        with self.lock:
            if batch.epoch == self.head.epoch and self.sent_hashes.get(batch.lsn_last) == batch.hash:
                return
            if (batch.epoch, batch.lsn_first, batch.prev) != (self.head.epoch, self.head.lsn + 1, self.head.hash):
                raise OutOfOrder(self.head)
            taken = list(self._events(batch))
            self.raw_bytes += sum(frame.raw_bytes for frame in batch.frames)
            self.events += sorted(taken, key=lambda event: event.lsn)
            self.head = replace(self.head, epoch=batch.epoch, lsn=batch.lsn_last, hash=batch.hash)
            self.sent_hashes[batch.lsn_last] = batch.hash
            self.committed_at[batch.lsn_last] = SYSTEM.now()
            self.on_batch(batch)
            self.lock.notify_all()
            if self.lose_answers > 0:
                self.lose_answers -= 1
                raise Unreachable("the answer was lost")

    def status(self, host: str, report: Mapping[str, Any]) -> dict[str, Any]:
        self._answer()
        with self.lock:
            self.statuses.append(dict(report))
            done = set(report.get("marks_done", ()))
            self.marks = [mark for mark in self.marks if mark["id"] not in done]
            self.lock.notify_all()
        return {"time": self._now(), "generation": self.generation}

    def _events(self, batch: Batch) -> list[ev.Event]:
        found: list[ev.Event] = []
        tables = batch.tables
        raw = [bytes(open_frame(frame)) for frame in batch.frames]

        def rows(name: str) -> Any:
            columns = tables.get(name)
            return zip(*columns.values(), strict=True) if columns else ()

        for lsn, at, parent, name, file_id in rows("dentry"):
            found.append(ev.Dentry(lsn, at, parent, name, None if file_id < 0 else file_id))
        for lsn, at, file_id, kind, *rest in rows("inode"):
            found.append(ev.Inode(lsn, at, file_id, chr(kind), *rest))
        for lsn, at, file_id, offset, length, frame, skip in rows("extent"):
            pack = f"{batch.epoch}.{batch.lsn_first}"
            if frame >= 0:
                self.data[pack, lsn] = raw[frame][skip : skip + length]
            found.append(
                ev.Extent(lsn, at, file_id, offset, length, ev.DataRef(pack, lsn, 0, 0) if frame >= 0 else None)
            )
        for lsn, at, file_id, offset, length, from_file, from_lsn, skip, digest in rows("copy"):
            whole = self._committed(from_file, from_lsn)
            if self.refuse_copies or meant(part := whole[skip : skip + length]) != digest:
                self.copies_refused += 1
                raise CopyRefused(f"events from {batch.lsn_first} refer to event {from_lsn}")
            self.data[pack := f"{batch.epoch}.{batch.lsn_first}", lsn] = part
            self.copied_bytes += length
            found.append(ev.Extent(lsn, at, file_id, offset, length, ev.DataRef(pack, lsn, 0, 0)))
        for lsn, at, kind, label, point_class, gap_from in rows("mark"):
            found.append(ev.Mark(lsn, at, kind.decode(), label.decode(), point_class.decode(), gap_from))
        for lsn, at, topic, payload in rows("record"):
            found.append(ev.Record(lsn, at, topic.decode(), payload.decode()))
        return found

    def _committed(self, file_id: int, lsn: int) -> bytes:
        """The bytes of a committed extent of the file; none, and no copy is right, where there is no such."""
        for event in self.events:
            if isinstance(event, ev.Extent) and (event.lsn, event.file_id) == (lsn, file_id) and event.data:
                return self.data[event.data.pack, event.data.frame]
        return b""

    def marks_of(self, kind: str) -> list[ev.Mark]:
        return [event for event in list(self.events) if isinstance(event, ev.Mark) and event.kind == kind]

    def points(self) -> list[ev.Mark]:
        return [event for event in list(self.events) if ev.is_point(event)]  # type: ignore[misc]

    def image(self, below: bytes, lsn: int | None = None) -> dict[bytes, tuple[Any, ...]]:
        """The tree below a path as of an LSN: relative path -> (attributes..., content); hard links by number."""
        return image_of(fold(list(self.events), lsn), self.data, below)


def image_of(state: State, data: Mapping[tuple[str, int], bytes], below: bytes) -> dict[bytes, tuple[Any, ...]]:
    found: dict[bytes, tuple[Any, ...]] = {}
    first: dict[int, bytes] = {}
    for path, node in sorted(tree(state).items()):
        if path != below and not path.startswith(below + b"/"):
            continue
        inode = node.inode
        short = path[len(below) :] or b"."
        content = bytearray(inode.size if inode.type == "f" else 0)
        for piece in node.pieces:
            assert piece.data is not None
            content[piece.offset : piece.offset + piece.length] = data[piece.data.pack, piece.data.frame][
                piece.skip : piece.skip + piece.length
            ]
        link = first.setdefault(inode.file_id, short)
        found[short] = (
            *(inode.type, inode.mode, inode.uid, inode.gid, inode.mtime_ns, inode.rdev, inode.target, inode.xattrs),
            link if inode.type != "d" else b"",
            bytes(content),
        )
    return found
