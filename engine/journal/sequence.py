"""Whether a batch continues its stream: every answer that a committer can give, decided without doing anything.

A batch continues the head of its epoch (next LSN, hash of the batch before), or it is one that is known already, or
it is refused. Nothing that has been committed can be changed by what arrives later.
"""

from __future__ import annotations

import errno
from collections import OrderedDict
from dataclasses import dataclass, field

from engine.journal.heads import Head
from engine.model.errors import Failed, Refused
from engine.model.lineage import Epoch
from engine.wire.batch import NO_HASH, Batch

RECENT_MAX = 256
"""Batches of one epoch whose hashes are remembered, for answering repetitions."""


class OutOfOrder(Refused):
    """A batch does not continue what is committed. `expected` is the last committed position, its hash included."""

    code = "out-of-order"

    def __init__(self, batch: Batch, expected: Head | None) -> None:
        have = f"{expected.position}, batch {expected.hash.hex()}" if expected else "no such epoch"
        super().__init__(
            f"events {batch.lsn_first} to {batch.lsn_last} of epoch {batch.epoch} of stream {batch.stream}, after batch"
            f" {batch.prev.hex()}, do not continue what is committed: {have}",
            hint="go on from the position expected, or open the stream again",
            details={"stream": batch.stream, "expected": as_json(expected)},
        )
        self.expected = expected


class Conflict(Refused):
    """Other content for events that are committed already. To be recorded: an agent must never do this."""

    code = "conflict"

    def __init__(self, batch: Batch, expected: Head, known: bytes) -> None:
        super().__init__(
            f"events {batch.lsn_first} to {batch.lsn_last} of epoch {batch.epoch} of stream {batch.stream} are"
            f" committed with other content: batch {known.hex()}, not {batch.hash.hex()}",
            hint="history does not change; open the stream again for a new epoch",
            details={"stream": batch.stream, "expected": as_json(expected), "hash": batch.hash.hex()},
        )
        self.expected = expected


class NotCommitted(Failed):
    """The store failed. Whether the batch is committed is open; sending it again is safe. `no_space`: it is full."""

    code = "not-committed"

    def __init__(self, message: str, *, no_space: bool = False) -> None:
        super().__init__(message, hint="send it again; see the node's log and the journal's disk")
        self.no_space = no_space


def not_committed(error: BaseException) -> NotCommitted:
    """What a failure of the store means for those who brought batches."""
    no_space = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    wrapped = NotCommitted(f"the store failed: {error}", no_space=no_space)
    wrapped.__cause__ = error
    return wrapped


@dataclass(frozen=True, slots=True)
class Opened:
    """Where a writer goes on: behind `head`. `cause` is why the epoch is a new one to it, "" when it is not."""

    head: Head
    cause: str


@dataclass(frozen=True, slots=True)
class Known:
    """A batch that is committed, or on its way (`committed_at` 0)."""

    lsn_last: int
    hash: bytes
    committed_at: int


@dataclass(slots=True)
class EpochSequence:
    """One epoch as a committer sees it: `durable` is what is committed, `next` what will be once all under way is."""

    durable: Head
    next: Head
    recent: OrderedDict[int, Known] = field(default_factory=OrderedDict)

    @classmethod
    def at(cls, head: Head) -> EpochSequence:
        sequence = cls(head, head)
        if head.lsn_first:
            sequence.recent[head.lsn_first] = Known(head.lsn, head.hash, head.committed_at)
        return sequence

    @property
    def settled(self) -> bool:
        return self.next.lsn == self.durable.lsn

    def continues(self, batch: Batch) -> bool:
        return batch.lsn_first == self.next.lsn + 1 and batch.prev == self.next.hash

    def known(self, batch: Batch) -> Known | None:
        """The batch with exactly these LSNs and this hash, as it was accepted before."""
        head = self.durable
        if (batch.lsn_last, batch.hash) == (head.lsn, head.hash):  # it may have been merged since
            return Known(head.lsn, head.hash, head.committed_at)
        known = self.recent.get(batch.lsn_first)
        return known if known and (known.lsn_last, known.hash) == (batch.lsn_last, batch.hash) else None

    def refusal(self, batch: Batch) -> OutOfOrder | Conflict:
        """Why a batch that neither continues nor is known can't be taken. Only once all under way is settled: what is
        named as expected is taken for acknowledged."""
        known = self.recent.get(batch.lsn_first)
        if known and known.lsn_last == batch.lsn_last and known.committed_at:
            return Conflict(batch, self.durable, known.hash)
        return OutOfOrder(batch, self.durable)

    def advance(self, batch: Batch) -> None:
        """`batch` is on its way."""
        self.next = Head(batch.epoch, batch.lsn_last, batch.hash, batch.lsn_first)
        self.recent[batch.lsn_first] = Known(batch.lsn_last, batch.hash, 0)

    def committed(self, batch: Batch, committed_at: int) -> None:
        """`batch`, the next after `durable`, is committed."""
        through_at = self.durable.through_at
        self.durable = Head(batch.epoch, batch.lsn_last, batch.hash, batch.lsn_first, through_at, committed_at)
        if self.next.lsn <= batch.lsn_last:
            self.next = self.durable
        self.recent[batch.lsn_first] = Known(batch.lsn_last, batch.hash, committed_at)
        while len(self.recent) > RECENT_MAX:
            self.recent.popitem(last=False)

    def forget_pending(self) -> None:
        """Nothing is on its way any more: what was, has failed."""
        self.next = self.durable
        for lsn_first in [first for first, known in self.recent.items() if not known.committed_at]:
            del self.recent[lsn_first]


def cause_to_open(
    current: Head | None,
    epoch: Epoch | None,
    writer: str,
    record: tuple[int, int, bytes] | None,
    acknowledged_lsn: int = 0,
) -> str:
    """Why a writer needs a new epoch; "" if it may go on in the current one.

    `record` is what the writer durably holds as its last: (epoch, LSN, batch hash), spooled batches included. One that
    is ahead of what is committed is only on its way; one that is behind, or elsewhere, is a host that was set back.
    `acknowledged_lsn` is the last that the writer was told is committed: a head behind that has lost events, whose
    LSNs must not be used again, since they may come back.
    """
    if current is None or epoch is None:
        return "first"
    if epoch.writer != writer:
        return "another writer"
    if current.hash == NO_HASH:  # granted, and never written to: the writer may not have learned of it
        return ""
    if record is None:
        return "record lost"
    number, lsn, digest = record
    if number != current.epoch:
        return "record of another epoch"
    if acknowledged_lsn > current.lsn:
        return "acknowledged events are missing"
    if lsn < current.lsn:
        return "record behind"
    if lsn == current.lsn and digest != current.hash:
        return "record differs"
    return ""


def as_json(head: Head | None) -> dict[str, object] | None:
    """A head as the node's answers carry it."""
    return {"epoch": head.epoch, "lsn": head.lsn, "hash": head.hash.hex()} if head else None
