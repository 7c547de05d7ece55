"""The outbox: gathers one stream's events, and closes them into batches that are durable before they are sent.

A batch goes through the spool, or directly: then the tree on disk is its only copy until the node has it, and losing
it means looking again. So go what looking at everything finds, and the large batches of passes with much to say while
the node keeps up: they would cost the host's disk as much again. Either way the record's transaction that knows of the
changes also names the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from functools import partial

from engine.agent.host.clock import SiteClock
from engine.agent.kept.record import NOWHERE, Record, Sent
from engine.agent.kept.spool import Spool
from engine.agent.ship.shipper import Parcel, Shipper
from engine.env import niceness
from engine.env.crash import crash
from engine.model.errors import Failed
from engine.model.policy.agents import SPOOL_LIMIT_DEFAULT
from engine.wire.batch import BatchBuilder

BATCH_RAW_BYTES = 12 << 20
BATCH_EVENTS = 16_000
DIRECT_BYTES_MIN = 1 << 20
DIRECT_WAITING_MAX = 2
"""Batches in flight beside the one being gathered: more would only cost memory."""

WAIT_SECONDS, TRIES = 0.2, 5
"""A node that takes nothing for so long, so often in a row, is not waited for where there is a spool."""


class SpoolFull(Failed):
    """The spool's limit is reached: nothing more is captured until the node has taken what is in it."""

    code = "spool-full"


class Outbox:
    """Where events go. `builder` takes them; `close_batch` sends what was gathered.

    `breathe` is called now and then during long work; it may raise to end it.
    """

    def __init__(
        self, stream: str, record: Record, spool: Spool, shipper: Shipper, clock: SiteClock, executor: Executor | None
    ) -> None:
        self._stream, self._record, self._spool, self._shipper = stream, record, spool, shipper
        self._clock, self._executor = clock, executor
        self.spool_room: Callable[[], int] = lambda: SPOOL_LIMIT_DEFAULT
        self.direct = False
        self.epoch = 0
        self.at = 0
        self.builder: BatchBuilder
        self.breathe: Callable[[], None] = lambda: None
        self.sure: Callable[[], None] = lambda: None
        """Asked before a batch is closed: raises when what was gathered may not be what there is."""

    def begin(self, epoch: int, lsn: int, hash: bytes, at: int) -> None:
        """Go on after a position whose last event was at `at`."""
        self.epoch, self.at = epoch, at
        self._clock.not_before(at)
        self.builder = self._builder(lsn + 1, hash)

    @contextmanager
    def giving_way(self) -> Iterator[None]:
        """This thread, and the one that compresses for it, give way to others meanwhile."""
        if self._executor is not None:
            self._executor.submit(niceness.give_way)
        try:
            with niceness.giving_way():
                yield
        finally:
            if self._executor is not None:
                self._executor.submit(niceness.as_usual)

    def _builder(self, lsn_first: int, prev: bytes) -> BatchBuilder:
        version = self._record.fact("batch_version", 1)
        return BatchBuilder(self._stream, self.epoch, lsn_first, prev, self._executor, version)

    @property
    def full(self) -> bool:
        """Whether the batch is large enough to be closed."""
        return self.builder.raw_bytes >= BATCH_RAW_BYTES or len(self.builder) >= BATCH_EVENTS

    def close_if_full(self) -> None:
        if self.full:
            self.close_batch()

    def close_batch(self, at: int | None = None, through_at: int = 0) -> None:
        """Make the gathered events durable and hand them to the shipper. SpoolFull; nothing without events.

        `at` is the time of all of them, by default now; never before that of the batch before.
        """
        builder = self.builder
        if not len(builder):
            return
        self.sure()
        if not self.direct and self._spool.size_bytes > (room := self.spool_room()):
            raise SpoolFull(
                f"the spool holds {self._spool.size_bytes} bytes, its limit is {room}",
                hint="the node is away or too slow; protection goes on once it has taken what is there",
            )
        self.at = max(self.at, self._clock.now() if at is None else at)
        builder.settle(self.at)
        events = len(builder)
        buffers, hash = builder.encode()
        crash("batch-encoded")
        place = NOWHERE
        size = sum(map(len, buffers))
        if not self._room_in_flight(size):
            try:
                place = self._spool.append(buffers)
            except OSError as error:
                raise SpoolFull(f"the spool can't be written: {error}", hint="free space below BCS_HOME") from error
        lsn_last = builder.lsn_next - 1
        self._record.add_sent(Sent(builder.lsn_first, lsn_last, hash, self.at, through_at, place))
        self._record.set_fact("at", self.at)
        crash("batch-recorded")
        number = self._record.write()
        crash("record-committed")
        kept = partial(self._record.sync, number)
        self._shipper.offer(
            Parcel(builder.lsn_first, lsn_last, hash, events, self.at, through_at, place, buffers, size, kept)
        )
        self.builder = self._builder(lsn_last + 1, hash)

    def _room_in_flight(self, size: int) -> bool:
        """Wait until the batch may go directly; False where it is better kept in the spool.

        Events reach the node in order, so waiting for it holds up nothing that would be there sooner; unless it takes
        nothing for a while.
        """
        shipper = self._shipper
        taken, tries = shipper.acknowledged, 0
        while self.direct or (size >= DIRECT_BYTES_MIN and shipper.takes_soon(size)):
            if shipper.wait_until(0 if shipper.crowded else DIRECT_WAITING_MAX, WAIT_SECONDS):
                return True
            self.breathe()
            taken, tries = shipper.acknowledged, tries + 1 if taken is shipper.acknowledged else 0
            if not self.direct and tries >= TRIES:
                return False
        return False
