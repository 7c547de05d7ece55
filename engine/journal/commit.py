"""Commits: batches from many streams in, one sequence of durable commits out. Acknowledged means restorable.

Three stages, each on its own thread, so that hashing, sealing and the disk overlap:

    submit (the caller's thread)   check the batch, hash its extents
    gather                         judge what arrived, seal it into a pack, start writing
    publish                        pack durable, segment durable, acknowledge; strictly in sequence

While the disk is idle a batch is committed at once; what arrives while a commit is being synced makes up the next one.
When the store fails, everything under way fails with it, and the committer goes on in a new boot, for whose number it
asks the store first.
"""

from __future__ import annotations

import errno
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import pyarrow as pa

from engine.env.clock import SYSTEM, Clock
from engine.format import hashes, names, tables
from engine.format.tables import Prepared
from engine.journal import boots, epochs, heads, l0
from engine.journal.epochs import Stream
from engine.journal.heads import Head
from engine.journal.l0 import Draft
from engine.journal.ledger import Ledger
from engine.journal.open import Journal
from engine.journal.sequence import Conflict, NotCommitted, OutOfOrder, cause_to_open
from engine.model.errors import Refused
from engine.model.ids import Address, Position
from engine.store.base import AlreadyThere
from engine.wire.batch import Batch

__all__ = ["Ack", "Committer", "Conflict", "NotCommitted", "Opened", "OutOfOrder"]

COMMIT_BYTES = 32 << 20
"""A commit is closed once its batches' frames have so many bytes; one larger batch is a commit of its own."""

EARLY_BYTES = 4 << 20
"""So much is sealed while the commit before is still being synced; less waits for it, to be one commit."""

WAITING_BYTES_MAX = 128 << 20
IDLE_SECONDS = 30.0
_UNDER_WAY_MAX = 2


@dataclass(frozen=True, slots=True)
class Ack:
    """A batch is committed up to `position`. `hash` is the batch's; `committed_at` the node's time, microseconds;
    `duplicate` that it had been before."""

    position: Position
    hash: bytes
    committed_at: int
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class Opened:
    """Where a writer goes on: behind `head`. `cause` is why the epoch is a new one to it, "" when it is not."""

    head: Head
    cause: str


@dataclass(slots=True, eq=False)
class _Ticket:
    """A batch on its way. `prepared` is None until its form has been checked; `held`: its answer depends on what is
    under way."""

    batch: Batch
    bytes: int
    future: Future[Ack]
    prepared: Prepared | None = None
    held: bool = False


@dataclass(frozen=True, slots=True)
class _Commit:
    draft: Draft
    tickets: Sequence[_Ticket]


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
        self._every = commit_every_seconds
        self._idle = idle_seconds
        tail = heads.recover(journal)
        self._ledger = Ledger(tail.streams)
        self._last = tail.last  # content hash of the last commit
        self._committed_at = tail.committed_at
        self.boot = boot if boot is not None else boots.take_boot(journal.store, node, tail.last, clock)
        self._seq = names.SEQ_FIRST - 1  # the last one used in this boot
        self._changed = threading.Condition()
        self._waiting: deque[_Ticket] = deque()
        self._under_way: deque[_Commit] = deque()
        self._gathering = False
        self._unsettled: tuple[str, pa.Buffer, _Commit] | None = None
        self._broken: BaseException | None = None
        self._closing = self._gathered_all = False
        self._ended_with_events = False
        self._gathered_at = clock.monotonic() - commit_every_seconds
        self._syncer = ThreadPoolExecutor(1, "commit-sync")
        self._threads = [
            threading.Thread(target=loop, name=name, daemon=True)
            for name, loop in (("commit-gather", self._gather), ("commit-publish", self._publish))
        ]
        for thread in self._threads:
            thread.start()

    # What a node calls.

    def submit(self, batch: Batch, group: str | None = None) -> Future[Ack]:
        """Take a batch. Checks and hashes it on the calling thread, which waits while too much is waiting already.

        The future raises Malformed, OutOfOrder, Conflict, NotCommitted, or Refused for a stream that is not registered.
        Extents are hashed with the key of the stream's own group; another `group` is a ValueError.
        """
        future: Future[Ack] = Future()
        ticket = _Ticket(batch, sum(len(frame.data) for frame in batch.frames), future)
        try:
            stream, known = self._enter(ticket)
            if group is not None and group != stream.group:
                raise ValueError(f"stream {stream.id} belongs to group {stream.group}, not {group}")
            if known is not None:
                future.set_result(known)
                return future
            key = self.journal.keyring.group_key(stream.group)
            prepared = tables.prepare(batch, hashes.batch_hashes(batch, key))
        except Exception as error:
            with self._changed:
                self._leave(ticket)
            future.set_exception(error)
            return future
        with self._changed:
            ticket.prepared = prepared
            self._changed.notify_all()
        return future

    def heads(self) -> dict[str, Head]:
        """The committed head of each stream's newest epoch, by stream id, with its watermark."""
        with self._changed:
            return self._ledger.heads()

    def streams(self) -> dict[str, Stream]:
        """Every stream that this committer knows, by id."""
        with self._changed:
            return dict(self._ledger.streams)

    def register(self, address: Address) -> Stream:
        """The stream of a source, its group's key included; made if there is none. Idempotent."""
        stream = epochs.register(self.journal.store, address, self._clock)
        self.journal.keyring.make_group_key(stream.group, self._clock)
        with self._changed:
            self._ledger.add(stream)
        return stream

    def open_stream(self, stream: str, writer: str, record: tuple[int, int, bytes] | None) -> Opened:
        """Where `writer` goes on, in a new epoch where the current one is not its own to continue.

        `record` is its durable last (epoch, LSN, batch hash), spooled batches included; None without one. Waits for
        batches of the stream that are under way. Raises Refused for a stream that is not registered.
        """
        while True:
            with self._changed:
                self._ledger.stream(stream)
                self._changed.wait_for(lambda: self._is_still(stream))
                epoch, head = self._ledger.current(stream)
            cause = cause_to_open(head, epoch, writer, record)
            if not cause and head is not None and epoch is not None:
                return Opened(head, "" if record is not None and record[0] == head.epoch else epoch.cause)
            parent = head.position if head else None
            number = epoch.number + 1 if epoch else 1
            try:
                granted = epochs.grant(self.journal.store, stream, number, parent, cause, writer, self._clock)
            except AlreadyThere:  # somebody else was first: judge again with that one known
                granted = epochs.read_epoch(self.journal.store, stream, number)
                cause = ""
            with self._changed:
                opened = self._ledger.grant(stream, granted)
            if cause:
                return Opened(opened, cause)

    def watermark(self, stream: str, through_at: int) -> None:
        """The stream's committed events are complete up to `through_at`, site time in microseconds.

        Goes into the next commit; while nothing else is committed, into one of its own each `idle_seconds`.
        """
        with self._changed:
            had_any = self._ledger.advanced
            self._ledger.watermark(stream, through_at)
            if not had_any:
                self._changed.notify_all()

    def close(self) -> None:
        """Commit what has been submitted, and stop. Idempotent.

        A commit without events ends the boot, so that a loss of the last one with events shows.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        self._syncer.shutdown()

    def __enter__(self) -> Committer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Gather: judge, seal, start writing.

    def _enter(self, ticket: _Ticket) -> tuple[Stream, Ack | None]:
        """Queue a ticket, or answer it if its batch is committed already."""
        batch = ticket.batch
        with self._changed:
            stream = self._ledger.stream(batch.stream)
            known = self._ledger.duplicate(batch)
            if known is not None:
                return stream, Ack(Position(batch.epoch, batch.lsn_last), batch.hash, known.committed_at, True)
            self._changed.wait_for(lambda: self._closing or self._waiting_bytes() < WAITING_BYTES_MAX)
            if self._closing:
                raise NotCommitted("the node is stopping")
            self._waiting.append(ticket)
            return stream, None

    def _leave(self, ticket: _Ticket) -> None:
        with suppress(ValueError):
            self._waiting.remove(ticket)
        self._changed.notify_all()

    def _waiting_bytes(self) -> int:
        return sum(ticket.bytes for ticket in self._waiting)

    def _is_still(self, stream: str) -> bool:
        """Whether nothing of a stream is waiting or under way."""
        under_way = (ticket for commit in self._under_way for ticket in commit.tickets)
        tickets = [*self._waiting, *under_way]
        return not self._gathering and not any(ticket.batch.stream == stream for ticket in tickets)

    def _gather(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._is_due, self._patience_seconds())
                if self._is_over():
                    self._gathered_all = True
                    self._changed.notify_all()
                    return
                broken = self._broken is not None
                answers, tickets, watermarks = ([], [], {}) if broken else self._take()
                self._gathering = bool(tickets)
            if broken:
                self._recover()
            for answer in answers:
                answer()
            if tickets or watermarks:
                self._lay_out(tickets, watermarks)

    def _is_over(self) -> bool:
        done = self._closing and not self._waiting and not self._under_way
        return done and (self._broken is not None or not self._ended_with_events)

    def _is_due(self) -> bool:
        """Whether there is something to take now."""
        if self._broken is not None:
            return bool(self._waiting) or self._closing
        if len(self._under_way) >= _UNDER_WAY_MAX:
            return False
        if self._closing and not self._waiting:
            return not self._under_way
        size = [ticket.bytes for ticket in self._eligible()]
        if not size:
            return self._is_idle() and self._seconds_since_gathered() >= self._idle
        if self._under_way:
            return sum(size) >= EARLY_BYTES
        return self._closing or self._seconds_since_gathered() >= self._every

    def _eligible(self) -> list[_Ticket]:
        """Waiting batches that can be judged: in each stream's own order, none overtakes one still being prepared."""
        eligible: list[_Ticket] = []
        blocked: set[str] = set()
        for ticket in self._waiting:
            if ticket.prepared is None or ticket.held:
                blocked.add(ticket.batch.stream)
            elif ticket.batch.stream not in blocked:
                eligible.append(ticket)
        return eligible

    def _is_idle(self) -> bool:
        return self._ledger.advanced and not self._under_way

    def _seconds_since_gathered(self) -> float:
        return self._clock.monotonic() - self._gathered_at

    def _patience_seconds(self) -> float | None:
        """How long to wait when nothing is reported: until the next commit may begin, or an idle one is due."""
        if self._broken is not None or self._under_way:
            return None
        if self._eligible():
            return max(0.0, self._every - self._seconds_since_gathered())
        return max(0.0, self._idle - self._seconds_since_gathered()) if self._ledger.advanced else None

    def _take(self) -> tuple[list[Callable[[], None]], list[_Ticket], dict[str, int]]:
        """Judge batches in their order: what is to be answered now, what to be committed, with which watermarks."""
        answers: list[Callable[[], None]] = []
        taken: list[_Ticket] = []
        size = 0
        for ticket in self._eligible():
            if taken and size + ticket.bytes > COMMIT_BYTES:
                break
            sequence = self._ledger.sequence(ticket.batch)
            if sequence is not None and sequence.continues(ticket.batch):
                sequence.advance(ticket.batch)
                taken.append(ticket)
                size += ticket.bytes
                self._leave(ticket)
                continue
            if sequence is not None and not sequence.settled:
                ticket.held = True
                continue
            answers.append(self._answer(ticket))
            self._leave(ticket)
        ending = self._closing and not self._waiting and not self._under_way and self._ended_with_events
        idle = self._is_idle() and self._seconds_since_gathered() >= self._idle
        watermarks = self._ledger.take_watermarks() if taken or idle or ending else {}
        if ending and not taken and not watermarks:
            watermarks = {name: head.through_at for name, head in list(self._ledger.heads().items())[:1]}
        return answers, taken, watermarks

    def _answer(self, ticket: _Ticket) -> Callable[[], None]:
        """How to answer a batch that continues nothing, all before it being settled."""
        batch = ticket.batch
        known = self._ledger.duplicate(batch)
        if known is not None:
            ack = Ack(Position(batch.epoch, batch.lsn_last), batch.hash, known.committed_at, True)
            return lambda: _resolve(ticket.future, ack)
        sequence = self._ledger.sequence(batch)
        refusal: Refused = sequence.refusal(batch) if sequence else OutOfOrder(batch, None)
        return lambda: _reject(ticket.future, refusal)

    def _lay_out(self, tickets: list[_Ticket], watermarks: dict[str, int]) -> None:
        self._gathered_at = self._clock.monotonic()
        self._committed_at = max(self._committed_at, self._clock.now())
        self._seq += 1
        prepared = [ticket.prepared for ticket in tickets if ticket.prepared is not None]
        try:
            draft = l0.lay_out(self.journal, self.node, self.boot, self._seq, self._committed_at, prepared, watermarks)
        except Exception as error:
            self._fail(error, tickets, watermarks)
            return
        with self._changed:
            self._gathering = False
            broken = self._broken
            if broken is None:
                self._under_way.append(_Commit(draft, tickets))
                self._changed.notify_all()
        if broken is not None:
            draft.drop()
            self._fail(broken, tickets, watermarks)

    # Publish: durable, in sequence, acknowledged.

    def _publish(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._under_way) or self._gathered_all)
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

    def _make_durable(self, commit: _Commit) -> None:
        """The pack, then the segment. The segment is encoded while the pack is being synced."""
        upload = commit.draft.upload
        syncing = self._syncer.submit(upload.commit) if upload is not None else None
        try:
            key, content = l0.encode(commit.draft, self._last)
        finally:
            if syncing is not None:
                syncing.result()
        self._unsettled = (key, content, commit)
        self.journal.store.put(key, memoryview(content))
        self._settle()

    def _settle(self) -> None:
        """The segment that was put last is durable: the heads are behind it now."""
        assert self._unsettled is not None
        key, _, commit = self._unsettled
        self._last = names.hash_in(key) or ""
        with self._changed:
            for ticket in commit.tickets:
                sequence = self._ledger.sequence(ticket.batch)
                assert sequence is not None
                sequence.committed(ticket.batch, commit.draft.committed_at)
            self._ended_with_events = bool(commit.tickets)
            self._unsettled = None

    def _acknowledge(self, commit: _Commit) -> None:
        with self._changed:
            self._under_way.popleft()
            self._release()
        for ticket in commit.tickets:
            position = Position(ticket.batch.epoch, ticket.batch.lsn_last)
            _resolve(ticket.future, Ack(position, ticket.batch.hash, commit.draft.committed_at))

    def _release(self) -> None:
        """Judge again what depended on what was under way."""
        for ticket in self._waiting:
            ticket.held = False
        self._changed.notify_all()

    # Failure, and the way on.

    def _fail(
        self,
        error: BaseException,
        tickets: Iterable[_Ticket],
        watermarks: Mapping[str, int],
        commit: _Commit | None = None,
    ) -> None:
        """A commit failed. Those behind it will meet `_broken` and fail as well."""
        with self._changed:
            self._broken = self._broken or error
            self._gathering = self._gathering and commit is not None
            if commit is not None:
                self._under_way.popleft()
            if not self._under_way and not self._gathering:
                self._ledger.forget_pending()
            self._ledger.return_watermarks(watermarks)
            self._release()
        for ticket in tickets:
            _reject(ticket.future, _not_committed(error))

    def _recover(self) -> None:
        """Learn what became of the commit that failed, and go on in a new boot. If the store does not let us, all that
        is waiting fails, and the next batch makes us try again."""
        with self._changed:
            self._changed.wait_for(lambda: not self._under_way)
            self._ledger.forget_pending()
        try:
            if self._unsettled is not None:
                key, content, _ = self._unsettled
                with suppress(AlreadyThere):
                    self.journal.store.put(key, memoryview(content))
                self._settle()
            self.boot = boots.take_boot(self.journal.store, self.node, self._last, self._clock)
            self._seq = names.SEQ_FIRST - 1
            failed: list[_Ticket] = []
            with self._changed:
                self._broken = None
        except Exception as error:
            with self._changed:
                failed = list(self._waiting)
                self._waiting.clear()
                self._broken = error
            for ticket in failed:
                _reject(ticket.future, _not_committed(error))
        with self._changed:
            self._changed.notify_all()


def _not_committed(error: BaseException) -> NotCommitted:
    no_space = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    wrapped = NotCommitted(f"the store failed: {error}", no_space=no_space)
    wrapped.__cause__ = error
    return wrapped


def _resolve(future: Future[Ack], ack: Ack) -> None:
    with suppress(InvalidStateError):  # the caller has lost interest
        future.set_result(ack)


def _reject(future: Future[Ack], error: BaseException) -> None:
    with suppress(InvalidStateError):
        future.set_exception(error)
