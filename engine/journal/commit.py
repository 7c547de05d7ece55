"""Commits: batches from many streams in, one sequence of durable commits out. Acknowledged means restorable.

Three stages, each on its own thread, so that hashing, sealing and the disk overlap:

    submit (the caller's thread)   check the batch, hash its extents
    gather                         judge what arrived, seal it into a pack, start writing
    publish                        pack durable, segment durable, acknowledge; strictly in sequence

While the disk is idle a batch is committed at once, or with those of other busy streams (engine/journal/pace.py); what
arrives while a commit is being synced makes up the next one.
When the store fails, everything under way fails with it, and the committer goes on in a new boot, for whose number it
asks the store first.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

import pyarrow as pa

from engine.env.clock import SYSTEM, Clock
from engine.format import hashes, names, tables
from engine.journal import boots, epochs, forks, heads, l0
from engine.journal.copies import Copies, CopyRefused, nothing_known
from engine.journal.epochs import Stream
from engine.journal.heads import Head
from engine.journal.intake import Ack, Intake, Ticket, UnderWay, reject_all, ticket_for
from engine.journal.ledger import Ledger
from engine.journal.open import Journal
from engine.journal.pace import Pace, is_early
from engine.journal.sequence import Conflict, NotCommitted, Opened, OutOfOrder, cause_to_open, not_committed
from engine.model.ids import Address
from engine.store.base import AlreadyThere
from engine.wire.batch import Batch

__all__ = ["Ack", "Committer", "Conflict", "CopyRefused", "NotCommitted", "Opened", "OutOfOrder"]

IDLE_SECONDS = 30.0
_UNDER_WAY_MAX = 2


class Committer:
    """The one writer of a node's commits. Safe to use from several threads; close it to stop its threads.

    `boot` is a number from `boots.take_boot` that nobody has used; without one it takes one. `commit_every_seconds` is
    the shortest time between the beginnings of two commits, for stores where requests cost; 0 for local ones.
    Starting raises Damaged if the journal's tail can't be trusted.
    """

    def __init__(
        self,
        journal: Journal,
        node: str,
        boot: int | None = None,
        clock: Clock = SYSTEM,
        *,
        commit_every_seconds: float = 0.0,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self.journal = journal
        self.node = names.check_node(node)
        self._clock = clock
        self._pace = Pace(clock, commit_every_seconds, idle_seconds)
        tail = heads.recover(journal)
        self.on_committed: Callable[[int, Sequence[Batch]], None] = lambda at, batches: None  # must not raise
        self.copies = Copies(journal, nothing_known)
        self._ledger = Ledger(tail.streams)
        self._intake = Intake(self._ledger, clock)
        self._last, self._committed_at = tail.last, tail.committed_at  # the last commit's content hash, and time
        self.boot = boot if boot is not None else boots.take_boot(journal.store, node, tail.last, clock)
        self._seq = names.SEQ_FIRST - 1  # the last one used in this boot
        self._lock = threading.RLock()
        self.forks = forks.Forks(journal.store, self._ledger, self._lock, clock)
        self._to_gather = threading.Condition(self._lock)
        self._to_publish = threading.Condition(self._lock)
        self._less = threading.Condition(self._lock)  # something has left the intake, or is settled
        self._under_way: deque[UnderWay] = deque()
        self._gathering = False  # between taking tickets and handing their commit over
        self._unsettled: tuple[str, pa.Buffer, UnderWay] | None = None
        self._broken: BaseException | None = None
        self._closing = self._gathered_all = self._ended_with_events = False
        self._syncer = ThreadPoolExecutor(1, "commit-sync")
        self._threads = [
            threading.Thread(target=self._gather, name="commit-gather", daemon=True),
            threading.Thread(target=self._publish, name="commit-publish", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, batch: Batch, group: str | None = None) -> Future[Ack]:
        """Take a batch. Checks and hashes it on the calling thread, which waits while too much is waiting already.

        The future raises Malformed, OutOfOrder, Conflict, NotCommitted, CopyRefused, or Refused for an unknown stream.
        Extents are hashed with the key of the stream's own group; another `group` is a ValueError.
        """
        ticket = ticket_for(batch)
        try:
            stream = self._enter(ticket)
            if ticket.future.done():
                return ticket.future
            if group is not None and group != stream.group:
                raise ValueError(f"stream {stream.id} belongs to group {stream.group}, not {group}")
            key = self.journal.keyring.group_key(stream.group)
            prepared = tables.prepare(batch, hashes.batch_hashes(batch, key), self.copies.of(batch, key))
        except Exception as error:
            with self._lock:
                self._intake.leave(ticket)
                self._to_gather.notify()
                self._less.notify_all()
            ticket.reject(error)
            return ticket.future
        with self._lock:
            ticket.prepared = prepared
            self._to_gather.notify()
        return ticket.future

    def heads(self) -> dict[str, Head]:
        """The committed head of each stream's newest epoch, by stream id, with its watermark."""
        with self._lock:
            return self._ledger.heads()

    def streams(self) -> dict[str, Stream]:
        """Every stream that this committer knows, by id."""
        with self._lock:
            return dict(self._ledger.streams)

    def register(self, address: Address) -> Stream:
        """The stream of a source, its group's key included; made if there is none. Idempotent."""
        stream = epochs.register(self.journal.store, address, self._clock)
        self.journal.keyring.make_group_key(stream.group, self._clock)
        with self._lock:
            self._ledger.add(stream)
        return stream

    def open_stream(
        self, stream: str, writer: str, record: tuple[int, int, bytes] | None, acknowledged_lsn: int = 0
    ) -> Opened:
        """Where `writer` goes on, in a new epoch where the current one is not its own to continue.

        `record` is its durable last (epoch, LSN, batch hash), spooled batches included; None without one.
        `acknowledged_lsn` is the last it was told is committed. Waits for batches of the stream that are under way.
        Raises Refused for a stream that is not registered.
        """
        while True:
            with self._lock:
                self._ledger.stream(stream)
                self._intake.give_up(stream)  # sent by whoever had it open before
                self._to_gather.notify()
                self._less.wait_for(lambda: self._is_still(stream))
                epoch, head = self._ledger.current(stream)
            cause = cause_to_open(head, epoch, writer, record, acknowledged_lsn)
            if not cause and head is not None and epoch is not None:
                return Opened(head, "" if record is not None and record[0] == head.epoch else epoch.cause)
            parent = head.position if head else None
            number = epoch.number + 1 if epoch else 1
            try:
                granted = epochs.grant(self.journal.store, stream, number, parent, cause, writer, self._clock)
            except AlreadyThere:  # somebody else was first: judge again with that one known
                granted = epochs.read_epoch(self.journal.store, stream, number)
                cause = ""
            with self._lock:
                opened = self._ledger.grant(stream, granted)
            if cause:
                return Opened(opened, cause)

    def watermark(self, stream: str, through_at: int) -> None:
        """The stream's committed events are complete up to `through_at`, site time in microseconds.

        Goes into the next commit; while nothing else is committed, into one of its own each `idle_seconds`.
        """
        with self._lock:
            had_any = self._ledger.advanced
            self._ledger.watermark(stream, through_at)
            if self._ledger.advanced and not had_any:
                self._to_gather.notify()

    def close(self) -> None:
        """Commit what has been submitted, and stop. Idempotent.

        A commit without events ends the boot, so that a loss of the last one with events shows.
        """
        with self._lock:
            self._closing = True
            self._to_gather.notify()
            self._less.notify_all()
        for thread in self._threads:
            thread.join()
        self._syncer.shutdown()

    def __enter__(self) -> Committer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _enter(self, ticket: Ticket) -> Stream:
        """Queue a ticket, or answer it if its batch is committed already."""
        with self._lock:
            stream = self._ledger.stream(ticket.batch.stream)
            known = self._ledger.duplicate(ticket.batch)
            if known is None:
                self._less.wait_for(lambda: self._closing or not self._intake.is_full)
                if self._closing:
                    raise NotCommitted("the node is stopping")
                self._intake.add(ticket)
        if known is not None:
            ticket.resolve(known.committed_at, duplicate=True)
        return stream

    def _is_still(self, stream: str) -> bool:
        """Whether nothing of a stream is waiting or under way."""
        under_way = any(ticket.batch.stream == stream for commit in self._under_way for ticket in commit.tickets)
        return not (self._gathering or under_way or self._intake.holds(stream))

    # Gather: judge, seal, start writing.

    def _gather(self) -> None:
        while True:
            with self._lock:
                while not self._is_due():
                    self._to_gather.wait(self._patience_seconds())
                if self._is_over():
                    self._gathered_all = True
                    self._to_publish.notify()
                    return
                broken = self._broken is not None
                tickets, answers = ([], []) if broken else self._intake.take()
                watermarks = {} if broken else self._watermarks(bool(tickets))
                self._gathering = bool(tickets)
                self._less.notify_all()
            if broken:
                self._recover()
            for answer in answers:
                answer()
            if tickets or watermarks:
                self._lay_out(tickets, watermarks)

    def _is_over(self) -> bool:
        done = self._closing and not (self._intake or self._under_way)
        return done and (self._broken is not None or not (self._ended_with_events or self._ledger.advanced))

    def _is_due(self) -> bool:
        """Whether there is something to take now."""
        if self._broken is not None:
            return bool(self._intake) or self._closing
        if len(self._under_way) >= _UNDER_WAY_MAX:
            return False
        if self._closing:
            self._intake.give_up()
            if not self._intake:
                return not self._under_way
        self._intake.give_up_late()
        eligible = self._intake.eligible()
        if not eligible:
            return self._is_idle()
        if self._under_way:
            return is_early(eligible)
        return self._closing or not self._pace.wait_seconds(eligible)

    def _is_idle(self) -> bool:
        """Whether watermarks have waited long enough for a commit to go along with."""
        return self._ledger.advanced and not self._under_way and not self._pace.idle_wait_seconds()

    def _patience_seconds(self) -> float | None:
        """How long to wait when nothing is reported: until the next commit may begin, or an idle one is due."""
        if self._broken is not None or self._under_way:
            return None
        if eligible := self._intake.eligible():
            return self._pace.wait_seconds(eligible)
        idle = self._pace.idle_wait_seconds() if self._ledger.advanced else None
        return min((wait for wait in (idle, self._intake.early_wait_seconds()) if wait is not None), default=None)

    def _watermarks(self, with_events: bool) -> dict[str, int]:
        """Those for the next commit; some, even if none has advanced, for the commit that ends the boot."""
        ending = self._closing and not (with_events or self._intake or self._under_way)
        if not (with_events or ending or self._is_idle()):
            return {}
        return self._ledger.take_watermarks() or (
            self._ledger.a_watermark() if ending and self._ended_with_events else {}
        )

    def _lay_out(self, tickets: list[Ticket], watermarks: dict[str, int]) -> None:
        self._pace.begin({ticket.batch.stream for ticket in tickets})
        self._committed_at = max(self._committed_at, self._clock.now())
        self._seq += 1
        prepared = [ticket.prepared for ticket in tickets if ticket.prepared is not None]
        try:
            draft = l0.lay_out(self.journal, self.node, self.boot, self._seq, self._committed_at, prepared, watermarks)
        except Exception as error:
            self._fail(error, tickets, watermarks)
            return
        with self._lock:
            broken = self._broken
            if broken is None:
                self._under_way.append(UnderWay(draft, tickets))
                self._gathering = False
                self._to_publish.notify()
        if broken is not None:
            draft.drop()
            self._fail(broken, tickets, watermarks)

    # Publish: durable, in sequence, acknowledged.

    def _publish(self) -> None:
        while True:
            with self._lock:
                self._to_publish.wait_for(lambda: bool(self._under_way) or self._gathered_all)
                if not self._under_way:
                    return
                commit = self._under_way[0]
                broken = self._broken
            if broken is None:
                try:
                    self._make_durable(commit)
                except Exception as error:
                    broken = error
            if broken is None:
                self._acknowledge(commit)
            else:
                commit.draft.drop()
                self._fail(broken, commit.tickets, commit.draft.watermarks, commit)

    def _make_durable(self, commit: UnderWay) -> None:
        """The pack, then the segment."""
        key, content = l0.finish(commit.draft, self._last, self._syncer)
        self._unsettled = (key, content, commit)
        self.journal.store.put(key, memoryview(content))
        self._settle()

    def _settle(self) -> None:
        """The segment that was put last is durable: the heads stand behind it now."""
        assert self._unsettled is not None
        key, _, commit = self._unsettled
        self._last = names.hash_in(key) or ""
        with self._lock:
            for ticket in commit.tickets:
                self._ledger.committed(ticket.batch, commit.draft.committed_at)
            self._ended_with_events = bool(commit.tickets)
            self._unsettled = None

    def _acknowledge(self, commit: UnderWay) -> None:
        with self._lock:
            self._under_way.popleft()
            self._intake.release()
            self._to_gather.notify()
            self._less.notify_all()
        for ticket in commit.tickets:
            ticket.resolve(commit.draft.committed_at)
        self.on_committed(commit.draft.committed_at, [ticket.batch for ticket in commit.tickets])

    # Failure, and the way on.

    def _fail(
        self,
        error: BaseException,
        tickets: Sequence[Ticket],
        watermarks: Mapping[str, int],
        commit: UnderWay | None = None,
    ) -> None:
        """A commit failed, `commit` when it was under way. Those behind it meet `_broken` and fail as well."""
        with self._lock:
            self._broken = self._broken or error
            if commit is not None:
                self._under_way.popleft()
            else:
                self._gathering = False
            self._ledger.return_watermarks(watermarks)
            self._to_gather.notify()
            self._less.notify_all()
        reject_all(tickets, not_committed(error))

    def _recover(self) -> None:
        """Learn what became of the commit that failed, and go on in a new boot. If the store does not let us, all that
        is waiting fails, and the next batch makes us try again."""
        with self._lock:
            self._less.wait_for(lambda: not self._under_way)
            self._ledger.forget_pending()
            self._intake.give_up()  # what they follow has failed
        broken: Exception | None = None
        try:
            if self._unsettled is not None:
                key, content = self._unsettled[:2]
                with suppress(AlreadyThere):
                    self.journal.store.put(key, memoryview(content))
                self._settle()
            self.boot = boots.take_boot(self.journal.store, self.node, self._last, self._clock)
            self._seq = names.SEQ_FIRST - 1
        except Exception as error:
            broken = error
        with self._lock:
            self._broken = broken
            failed = self._intake.clear() if broken is not None else []
            self._intake.release()
            self._less.notify_all()
        if broken is not None:
            reject_all(failed, not_committed(broken))
