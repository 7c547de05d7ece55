"""A session of one source: the stream is opened, the disk compared, and changes are captured until something fails."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor

from engine.agent.capture.outbox import Outbox
from engine.agent.endings import Resync, Stopped
from engine.agent.kept.record import NOWHERE, Record
from engine.agent.kept.spool import Spool, SpoolDamaged
from engine.agent.live import Live
from engine.agent.parts import assemble
from engine.agent.ranges.choose import open_writes
from engine.agent.recovered import taking
from engine.agent.settings import Begun
from engine.agent.ship import opening
from engine.agent.ship.client import CopyRefused, Head, Node, is_refusal
from engine.agent.ship.shipper import Parcel, Shipper
from engine.agent.watch.choose import open_watcher
from engine.env.crash import crash
from engine.model.errors import BcsError

OPEN_SECONDS = 1.0

WAS_DOWN, WAS_KILLED = "agent was down", "agent was killed"
NODE_LOST = "the node has lost what it had acknowledged"


class Session:
    """From opening the record to the next failure. Everything it opens, it closes."""

    def __init__(self, begun: Begun, executor: Executor, sure: Callable[[], None] = lambda: None) -> None:
        """`sure` raises what ends the session when the source may not be looked at any more."""
        self._sure = sure
        self._begun, self._settings, self._view = begun, begun.settings, begun.view
        self._executor = executor
        self._opened = False
        self._node = begun.settings.connect()

    def run(self) -> None:
        settings = self._settings
        self._record = Record(settings.directory / "record.sqlite")
        crash("record-opened")
        try:
            if self._begun.spool_lost:
                self._record.lose_spooled()
                self._record.commit()
                self._begun.spool_lost = False
            sent = self._record.sent()
            places = [each.place for each in sent if each.place.segment >= 0]
            self._spool = Spool(
                settings.directory / "spool", places[-1] if places else NOWHERE, places[0] if places else NOWHERE
            )
            settings.spools[settings.stream] = self._spool
            self._shipper = Shipper(self._lane, settings.stream, settings.host, self._spool, settings.memory)
            try:
                self._with_shipper()
            finally:
                self._shipper.stop()
                self._spool.close()
        finally:
            self._record.close()
            self._node.close()

    def _lane(self) -> Node:
        lane = self._settings.lane
        return lane(lambda: self._view.state == "baseline") if lane else self._settings.connect()

    def _with_shipper(self) -> None:
        settings, view, record = self._settings, self._view, self._record
        view.state = "opening"
        recovered = taking.begin(settings, record, self._spool, self._node, self._sure)
        self._begun.reason = recovered or self._begun.reason
        # Without the node only a record that needs nothing from it may go on: one whose batches are all in the spool.
        must = not record.fact("epoch") or any(each.place.segment < 0 for each in record.sent())
        self._open_at_node(must=must)
        outbox = Outbox(settings.stream, record, self._spool, self._shipper, settings.site_clock, self._executor)
        outbox.spool_room, outbox.sure = lambda: settings.spool_room_bytes, self._sure
        last = ([None, *record.sent()])[-1]
        lsn, hash = (last.lsn_last, last.hash) if last else (record.fact("acked_lsn"), record.fact("acked_hash"))
        outbox.begin(record.fact("epoch"), lsn, hash, record.fact("at", 0))
        self._wait_for_room()
        watcher = open_watcher(
            settings.scope.roots,
            force=settings.watch,
            weaker_than=self._begun.weaker_than,
            scan_interval_seconds=settings.scan_interval_seconds,
            clock=settings.clock,
        )
        cold, guests = taking.stand(settings, record)
        writes = open_writes(
            force=settings.ranges,
            clones=lambda: taking.nothing_cold(parts.capture),
            fillers=lambda: taking.fillers(parts.capture),
            clock=settings.clock,
        )
        view.mechanism, view.ranges = watcher.mechanism, writes.mechanism
        view.costs = " ".join(filter(None, (watcher.costs, writes.costs)))
        crash("watcher-opened")
        kept = record, outbox, self._spool
        parts = assemble(self._begun, *kept, self._shipper, watcher, writes, self._reopen)
        parts.capture.inodes.cold, parts.capture.guests = cold, guests
        try:
            live = Live(parts)
            live.begin(self._why())
            self._begun.reason = ""
            live.run()
        finally:
            parts.marks.drop_unclosed()
            taking.close(parts)
            parts.capture.under_way.drop()  # open files would keep their file system from being unmounted
            writes.close()
            watcher.close()

    def _why(self) -> str:
        """Why changes may have been missed before this session."""
        if self._begun.reason:
            return self._begun.reason
        return WAS_DOWN if self._record.fact("clean") else WAS_KILLED

    def _wait_for_room(self) -> None:
        """A spool that was full must drain first: else the catch-up would fill it at once."""
        while self._spool.size_bytes > self._settings.spool_room_bytes // 2:
            if not self._opened:
                self._reopen()
            self._shipper.wait_until(0, 0.2)
            acked = self._shipper.acknowledged
            if acked is not None:
                self._record.acknowledge(acked.lsn_last, acked.hash)
                self._record.commit()
                self._spool.release(self._record.first_spooled())
            if self._shipper.trouble is not None:
                raise Resync("the spool was full")
            if self._shipper.copy_refused:
                raise CopyRefused(self._shipper.message)
            if self._shipper.spool_damaged:
                raise SpoolDamaged(self._shipper.message)
            if self._begun.stopping.is_set():
                raise Stopped

    def _open_at_node(self, *, must: bool) -> None:
        """Open the stream and follow the node's answer. Without an answer a record that knows its epoch may go on."""
        record = self._record
        while True:
            try:
                settings = self._settings
                head = self._node.open_stream(settings.stream, settings.host, settings.writer, opening.claim(record))
                break
            except BcsError as error:
                self._not_opened(error)
                if not must:
                    self._offer_spooled()
                    return
                if self._begun.stopping.wait(OPEN_SECONDS):
                    raise Stopped from None
        self._view.message = self._view.not_opened = ""
        if head.lsn < record.fact("acked_lsn", 0):
            self._begun.reason = NODE_LOST  # acknowledged means restorable: that this did not hold must show
            for fact in ("through_at", "mark_at"):  # the gap begins where the node's history ends now
                record.set_fact(fact, min(record.fact(fact, 0), head.through_at or record.fact(fact, 0)))
        crash("stream-opened")
        left, _ = opening.follow(record, head)
        record.set_fact("batch_version", head.batch_version)
        crash("record-followed")
        if not left:
            self._spool.drop()
        self._opened = True
        self._offer_spooled()
        self._shipper.release()

    def _offer_spooled(self) -> None:
        for each in self._record.sent():
            events = each.lsn_last - each.lsn_first + 1
            parcel = Parcel(
                each.lsn_first, each.lsn_last, each.hash, events, each.at, each.through_at, each.place, None, 0
            )
            self._shipper.offer(parcel)

    def _reopen(self) -> bool:
        """Try to open a stream that was begun without the node; whether it is open. Resync if the node is elsewhere."""
        if self._opened:
            return True
        settings, record = self._settings, self._record
        try:
            head: Head = self._node.open_stream(settings.stream, settings.host, settings.writer, opening.claim(record))
        except BcsError as error:
            self._not_opened(error)
            return False
        self._view.message = self._view.not_opened = ""
        record.set_fact("batch_version", head.batch_version)
        ends = [(record.fact("acked_lsn", 0), record.fact("acked_hash"))]
        ends += [(each.lsn_last, each.hash) for each in record.sent()]
        if head.epoch != record.fact("epoch") or (head.lsn, head.hash) not in ends:
            raise Resync("the node has another history")
        self._opened = True
        self._shipper.release()
        return True

    def _not_opened(self, error: BcsError) -> None:
        self._view.message, self._view.not_opened = str(error), str(error) if is_refusal(error) else ""
