"""Batches that wait to be committed, and what becomes of each: committed next, answered now, or left waiting.

A writer may have several batches in flight, on connections of their own, so one may come before those that it follows.
Such a batch is kept for EARLY_SECONDS, then refused as one that continues nothing.

No locks and no I/O here: the committer holds its own lock around every call. Answers are given back as functions to
be called without it, since whoever waits for a future may act at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field

from engine.env.clock import Clock
from engine.format.tables import Prepared
from engine.journal.l0 import Draft
from engine.journal.ledger import Ledger
from engine.journal.sequence import OutOfOrder
from engine.model.errors import Refused
from engine.model.ids import Position
from engine.wire.batch import Batch

COMMIT_BYTES = 32 << 20
"""A commit is closed once its batches' frames have so many bytes; one larger batch is a commit of its own."""

WAITING_BYTES_MAX = 128 << 20
"""While more waits than this, those who bring batches wait too."""

EARLY_SECONDS = 3.0
EARLY_BYTES_MAX = 64 << 20
"""Of all batches together that came early; what comes beyond that is refused at once."""


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
    under way. `bytes` are those of its frames, as stored. `kept_until`, monotonic seconds: how long it was to be
    kept when it came early; None if it did not."""

    batch: Batch
    bytes: int
    future: Future[Ack] = field(default_factory=Future)
    prepared: Prepared | None = None
    held: bool = False
    kept_until: float | None = None

    def resolve(self, committed_at: int, *, duplicate: bool = False) -> None:
        """Acknowledge."""
        ack = Ack(Position(self.batch.epoch, self.batch.lsn_last), self.batch.hash, committed_at, duplicate)
        with suppress(InvalidStateError):  # whoever waited has lost interest
            self.future.set_result(ack)

    def reject(self, error: BaseException) -> None:
        with suppress(InvalidStateError):
            self.future.set_exception(error)


@dataclass(frozen=True, slots=True)
class UnderWay:
    """A commit that is being made durable, and whom to tell."""

    draft: Draft
    tickets: Sequence[Ticket]


def ticket_for(batch: Batch) -> Ticket:
    return Ticket(batch, sum(len(frame.data) for frame in batch.frames))


class Intake:
    """The waiting tickets, in the order in which they came; and apart from them the early ones, by where they begin.
    These keep nobody out: those that they follow must be able to come."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._waiting: deque[Ticket] = deque()
        self._early: dict[tuple[str, int, int], Ticket] = {}

    def __len__(self) -> int:
        return len(self._waiting) + len(self._early)

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
        gone = [*self._waiting, *self._early.values()]
        self._waiting.clear()
        self._early.clear()
        return gone

    def holds(self, stream: str) -> bool:
        return any(ticket.batch.stream == stream for ticket in (*self._waiting, *self._early.values()))

    def early_wait_seconds(self) -> float | None:
        """How long until the first early one is not kept any longer; None when there is none."""
        ends = [ticket.kept_until or 0.0 for ticket in self._early.values()]
        return max(0.0, min(ends) - self._clock.monotonic()) if ends else None

    def give_up_late(self) -> None:
        """The early ones whose time is over wait for an answer."""
        now = self._clock.monotonic()
        self._give_up([ticket for ticket in self._early.values() if (ticket.kept_until or 0.0) <= now])

    def give_up(self, stream: str = "") -> None:
        """All that have come early so far are kept no longer, or those of one stream."""
        self._give_up([ticket for ticket in self._early.values() if stream in ("", ticket.batch.stream)])
        for ticket in self._waiting:
            if stream in ("", ticket.batch.stream):
                ticket.kept_until = 0.0

    def _give_up(self, tickets: Iterable[Ticket]) -> None:
        for ticket in tickets:
            del self._early[_beginning(ticket.batch)]
            self._waiting.append(ticket)

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
        to_judge = deque(self.eligible())
        while to_judge:
            ticket = to_judge.popleft()
            if taken and size + ticket.bytes > COMMIT_BYTES:
                break
            sequence = self._ledger.sequence(ticket.batch)
            if sequence is not None and sequence.continues(ticket.batch):
                sequence.advance(ticket.batch)
                taken.append(ticket)
                size += ticket.bytes
                follower = self._early.get(_following(ticket.batch))
                if follower is not None:
                    self._give_up([follower])
                    to_judge.appendleft(follower)
            elif self._keeps(ticket):
                pass
            elif sequence is not None and not sequence.settled:
                # What a refusal names as expected is taken for acknowledged, so it must be.
                ticket.held = True
                continue
            else:
                answers.append(self._answer(ticket))
            self.leave(ticket)
        return taken, answers

    def _keeps(self, ticket: Ticket) -> bool:
        """Whether a batch came early, and is kept for those that it follows. Not twice."""
        sequence = self._ledger.sequence(ticket.batch)
        ahead = sequence is not None and ticket.batch.lsn_first > sequence.next.lsn + 1
        there = _beginning(ticket.batch) in self._early
        if not ahead or there or ticket.kept_until is not None:
            return False
        if ticket.bytes + sum(each.bytes for each in self._early.values()) > EARLY_BYTES_MAX:
            return False
        ticket.kept_until = self._clock.monotonic() + EARLY_SECONDS
        self._early[_beginning(ticket.batch)] = ticket
        return True

    def _answer(self, ticket: Ticket) -> Callable[[], None]:
        """How to answer a batch that continues nothing."""
        known = self._ledger.duplicate(ticket.batch)
        if known is not None:
            return lambda: ticket.resolve(known.committed_at, duplicate=True)
        sequence = self._ledger.sequence(ticket.batch)
        refusal: Refused = sequence.refusal(ticket.batch) if sequence else OutOfOrder(ticket.batch, None)
        return lambda: ticket.reject(refusal)


def _beginning(batch: Batch) -> tuple[str, int, int]:
    return batch.stream, batch.epoch, batch.lsn_first


def _following(batch: Batch) -> tuple[str, int, int]:
    return batch.stream, batch.epoch, batch.lsn_last + 1


def reject_all(tickets: Iterable[Ticket], error: BaseException) -> None:
    for ticket in tickets:
        ticket.reject(error)
