"""Batches that wait to be committed, and what becomes of each: committed next, answered now, or left waiting.

No locks and no I/O here: the committer holds its own lock around every call. Answers are given back as functions to
be called without it, since whoever waits for a future may act at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field

from engine.format.tables import Prepared
from engine.journal.ledger import Ledger
from engine.journal.sequence import OutOfOrder
from engine.model.errors import Refused
from engine.model.ids import Position
from engine.wire.batch import Batch

COMMIT_BYTES = 32 << 20
"""A commit is closed once its batches' frames have so many bytes; one larger batch is a commit of its own."""

WAITING_BYTES_MAX = 128 << 20
"""While more waits than this, those who bring batches wait too."""


@dataclass(frozen=True, slots=True)
class Ack:
    """A batch is committed up to `position`. `hash` is the batch's; `committed_at` the node's time, microseconds;
    `duplicate` that it had been before."""

    position: Position
    hash: bytes
    committed_at: int
    duplicate: bool = False


@dataclass(slots=True, eq=False)
class Ticket:
    """A batch on its way. `prepared` is None until its form has been checked; `held`: its answer depends on what is
    under way. `bytes` are those of its frames, as stored."""

    batch: Batch
    bytes: int
    future: Future[Ack] = field(default_factory=Future)
    prepared: Prepared | None = None
    held: bool = False

    def resolve(self, committed_at: int, *, duplicate: bool = False) -> None:
        """Acknowledge."""
        ack = Ack(Position(self.batch.epoch, self.batch.lsn_last), self.batch.hash, committed_at, duplicate)
        with suppress(InvalidStateError):  # whoever waited has lost interest
            self.future.set_result(ack)

    def reject(self, error: BaseException) -> None:
        with suppress(InvalidStateError):
            self.future.set_exception(error)


def ticket_for(batch: Batch) -> Ticket:
    return Ticket(batch, sum(len(frame.data) for frame in batch.frames))


class Intake:
    """The waiting tickets, in the order in which they came."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._waiting: deque[Ticket] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        return sum(ticket.bytes for ticket in self._waiting) >= WAITING_BYTES_MAX

    def add(self, ticket: Ticket) -> None:
        self._waiting.append(ticket)

    def leave(self, ticket: Ticket) -> None:
        """Idempotent."""
        with suppress(ValueError):
            self._waiting.remove(ticket)

    def clear(self) -> list[Ticket]:
        """Everybody leaves."""
        gone = list(self._waiting)
        self._waiting.clear()
        return gone

    def holds(self, stream: str) -> bool:
        return any(ticket.batch.stream == stream for ticket in self._waiting)

    def release(self) -> None:
        """What was under way is settled: judge again what depended on it."""
        for ticket in self._waiting:
            ticket.held = False

    def eligible(self) -> list[Ticket]:
        """Those that can be judged: in each stream's own order, none overtakes one still being prepared."""
        eligible: list[Ticket] = []
        blocked: set[str] = set()
        for ticket in self._waiting:
            if ticket.prepared is None or ticket.held:
                blocked.add(ticket.batch.stream)
            elif ticket.batch.stream not in blocked:
                eligible.append(ticket)
        return eligible

    def take(self) -> tuple[list[Ticket], list[Callable[[], None]]]:
        """(what makes up the next commit, answers to be given now). Both leave; the heads advance."""
        taken: list[Ticket] = []
        answers: list[Callable[[], None]] = []
        size = 0
        for ticket in self.eligible():
            if taken and size + ticket.bytes > COMMIT_BYTES:
                break
            sequence = self._ledger.sequence(ticket.batch)
            if sequence is not None and sequence.continues(ticket.batch):
                sequence.advance(ticket.batch)
                taken.append(ticket)
                size += ticket.bytes
            elif sequence is not None and not sequence.settled:
                # What a refusal names as expected is taken for acknowledged, so it must be.
                ticket.held = True
                continue
            else:
                answers.append(self._answer(ticket))
            self.leave(ticket)
        return taken, answers

    def _answer(self, ticket: Ticket) -> Callable[[], None]:
        """How to answer a batch that continues nothing."""
        known = self._ledger.duplicate(ticket.batch)
        if known is not None:
            return lambda: ticket.resolve(known.committed_at, duplicate=True)
        sequence = self._ledger.sequence(ticket.batch)
        refusal: Refused = sequence.refusal(ticket.batch) if sequence else OutOfOrder(ticket.batch, None)
        return lambda: ticket.reject(refusal)


def reject_all(tickets: Iterable[Ticket], error: BaseException) -> None:
    for ticket in tickets:
        ticket.reject(error)
