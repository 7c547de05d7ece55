"""Shipping: threads that send one stream's batches to the node, in order and several at once, until each is
acknowledged.

They decide nothing. A node that does not answer is asked again with back-off; one that is elsewhere in the stream stops
the shipping until the source has looked into it (`trouble`). Each thread, a lane, has a connection of its own; a body
begins only when the one before has left, so that batches arrive in order and small ones are not held up by large ones
behind them. Further lanes begin when the first is busy: a quiet stream has one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from engine.agent.kept.spool import Spool, SpoolDamaged
from engine.agent.log import batch_sent
from engine.agent.ship.client import CopyRefused, Head, Node, OutOfOrder, is_refusal
from engine.agent.ship.memory import Memory
from engine.agent.ship.window import BATCHES_MAX, Parcel, Window
from engine.agent.traffic import Traffic
from engine.env.clock import SYSTEM
from engine.env.crash import crash
from engine.env.niceness import as_usual
from engine.model.errors import BcsError, Unauthenticated, Unreachable
from engine.wire.batch import hash_of

__all__ = ["Parcel", "Shipper"]

RETRY_SECONDS_FIRST, RETRY_SECONDS_MAX = 0.05, 2.0
REFUSED_RETRY_SECONDS_FIRST, REFUSED_RETRY_SECONDS_MAX = 5.0, 60.0
"""What the node refuses, it will refuse again unless something changes there. Who is not known is asked for soon."""
STOP_SECONDS = 1.0
FRESH_SECONDS, SOON_SECONDS = 1.0, 0.5
"""A node that took a batch so lately is taken for one that is there, and takes another one soon if it takes no longer
than that at the same rate."""
TELLING_BYTES = 1 << 20
"""A smaller batch says how long the node takes, not how fast it takes much."""


class Shipper:
    """The lanes and their queue. All methods may be called from the source's thread."""

    def __init__(
        self, connect: Callable[[], Node], stream: str, host: str, spool: Spool, memory: Memory | None = None
    ) -> None:
        """`memory` is what it shares with other sources."""
        self._connect, self._stream, self._host, self._spool = connect, stream, host, spool
        self.traffic = Traffic()
        self._changed = threading.Condition()
        self._window = Window()
        self._memory = memory or Memory()
        self.waiting_events = 0
        self._released = False
        self._stopping = False
        self._sending: Parcel | None = None  # its body is leaving
        self._resting = 0  # lanes that wait after a failure
        self._retry_seconds = RETRY_SECONDS_FIRST
        self.acknowledged: Parcel | None = None
        self._taken_at, self._took_seconds, self._taken_a_second = -FRESH_SECONDS, 0.0, 0.0
        self.trouble: Head | None = None
        self.message = ""
        self.refused = False  # `message` says why the node does not take what it was sent
        self.spool_damaged = self.copy_refused = False
        self._lanes: list[threading.Thread] = []
        self._add_lane()

    def offer(self, parcel: Parcel) -> None:
        """Take over a batch that follows all offered before. Never blocks."""
        with self._changed:
            only_copy = parcel.place.segment < 0
            if parcel.buffers is not None and not self._memory.lend(parcel.stored_bytes, must=only_copy):
                parcel.buffers = None
            self._window.add(parcel)
            self.waiting_events += parcel.events
            self._add_lane_if_useful()
            self._changed.notify_all()

    def wait_until(self, waiting_max: int, timeout_seconds: float) -> bool:
        """Wait until at most `waiting_max` batches are unacknowledged; whether that is so."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self.waiting <= waiting_max or self.trouble is not None, timeout_seconds
            )

    def takes_soon(self, count: int) -> bool:
        """Whether the node has just taken a batch and few wait, so that one of so many bytes will soon be there too."""
        with self._changed:
            well = self._released and not (self._resting or self.message or self.trouble is not None)
            fresh = SYSTEM.monotonic() - self._taken_at < FRESH_SECONDS and self._took_seconds <= SOON_SECONDS
            return well and fresh and self.waiting <= BATCHES_MAX and count <= self._taken_a_second * SOON_SECONDS

    @property
    def crowded(self) -> bool:
        """Whether batches that are nowhere else take so much memory that no more should be made. One may always."""
        return self._memory.full and bool(self.waiting)

    @property
    def waiting(self) -> int:
        """Batches not acknowledged."""
        return len(self._window.waiting)

    def release(self) -> None:
        """The stream is open at the node: begin to send."""
        with self._changed:
            self._released, self.trouble = True, None
            self._changed.notify_all()

    def stop(self) -> None:
        """End the lanes; what waits stays in the spool."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for lane in self._lanes:
            lane.join(STOP_SECONDS / len(self._lanes))
        with self._changed:
            for parcel in self._window.waiting:
                self._forget_buffers(parcel)

    def _add_lane_if_useful(self) -> None:
        if len(self._lanes) <= self._window.in_flight < min(self.waiting, BATCHES_MAX):
            self._add_lane()

    def _add_lane(self) -> None:
        lane = threading.Thread(target=self._run, name=f"ship {self._stream} {len(self._lanes)}", daemon=True)
        self._lanes.append(lane)
        lane.start()

    def _run(self) -> None:
        as_usual()  # it may have been begun by a thread that gives way
        node = self._connect()
        while (parcel := self._take()) is not None:
            begun = SYSTEM.monotonic()
            try:
                self._send(node, parcel)
                self._done(parcel, seconds := SYSTEM.monotonic() - begun)
                batch_sent(self._stream, parcel.hash, parcel.events, seconds)
            except OutOfOrder as error:
                batch_sent(self._stream, parcel.hash, parcel.events, SYSTEM.monotonic() - begun, error.message)
                self._out_of_order(parcel, error.head)
            except CopyRefused as error:
                with self._changed:
                    self.message, self.copy_refused = error.message, True
                    self.traffic.copies_refused += 1
                    self._window.end(parcel)
            except SpoolDamaged as error:
                with self._changed:
                    self.message, self.spool_damaged = error.message, True
                    self._window.end(parcel)
            except (BcsError, OSError) as error:
                if not isinstance(error, Unreachable):  # that is the node's state, not this batch's
                    batch_sent(self._stream, parcel.hash, parcel.events, SYSTEM.monotonic() - begun, str(error))
                self._failed(parcel, error)
        node.close()

    def _send(self, node: Node, parcel: Parcel) -> None:
        try:
            buffers = parcel.buffers or [self._from_spool(parcel)]
            if parcel.kept is not None:
                parcel.kept()
            crash("sending")
            node.send(self._stream, self._host, buffers, lambda: self._left(parcel, sent=True))
            crash("sent")
        finally:
            self._left(parcel)

    def _take(self) -> Parcel | None:
        """The next batch to send, once it may be; None to stop. The others' turn comes when it has left."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or self._ready() is not None)
            parcel = self._ready()
            if self._stopping or parcel is None:
                return None
            self._window.begin(parcel)
            self._sending = parcel
            self._add_lane_if_useful()
            return parcel

    def _ready(self) -> Parcel | None:
        held_up = self._sending is not None or self._resting or self.spool_damaged or self.copy_refused
        return None if held_up or not self._released or self.trouble is not None else self._window.next()

    def _left(self, parcel: Parcel, *, sent: bool = False) -> None:
        """A body has left, or will not: the next one may. Idempotent."""
        with self._changed:
            if self._sending is parcel:
                self.traffic.sent += parcel.bytes if sent else 0
                self._sending = None
                self._changed.notify_all()

    def _from_spool(self, parcel: Parcel) -> bytes:
        data = self._spool.read(parcel.place)
        if hash_of(data) != parcel.hash:
            raise SpoolDamaged(f"batch {parcel.lsn_first} to {parcel.lsn_last} was changed in the spool")
        return data

    def _done(self, parcel: Parcel, seconds: float) -> None:
        with self._changed:
            self._took_seconds = seconds
            if parcel.bytes >= TELLING_BYTES or not self._taken_a_second:
                self._taken_a_second = parcel.bytes / max(seconds, 1e-6)
            self._acknowledge(parcel.lsn_last, parcel.hash)
            crash("answer-taken")
            self._taken_at = SYSTEM.monotonic()
            self.message, self.refused, self._retry_seconds = "", False, RETRY_SECONDS_FIRST
            self._changed.notify_all()

    def _acknowledge(self, lsn: int, hash: bytes) -> None:
        for parcel in self._window.acknowledged(lsn, hash):
            self.waiting_events -= parcel.events
            self._forget_buffers(parcel)
            self.acknowledged = parcel

    def _forget_buffers(self, parcel: Parcel) -> None:
        if parcel.buffers is not None:
            self._memory.give_back(parcel.stored_bytes)
            parcel.buffers = None

    def _out_of_order(self, parcel: Parcel, head: Head) -> None:
        """The node is elsewhere. If it is at the end of a batch that waits here, those up to it are acknowledged."""
        with self._changed:
            self._acknowledge(head.lsn, head.hash)
            if parcel.in_flight and self._window.refused(parcel):
                self.trouble = head
            self._changed.notify_all()

    def _failed(self, parcel: Parcel, error: BcsError | OSError) -> None:
        """Send it again after a while in which nothing else is sent either; the longer, the more often the first one
        has failed."""
        with self._changed:
            if not parcel.in_flight:
                return  # acknowledged meanwhile, with a later one
            self._window.end(parcel)
            self.message, self.refused = str(error), is_refusal(error)
            if self.refused:
                self._retry_seconds = max(self._retry_seconds, REFUSED_RETRY_SECONDS_FIRST)
            self._resting += 1
            self._changed.wait_for(lambda: self._stopping, self._retry_seconds)
            self._resting -= 1
            if parcel.alone:
                self._retry_seconds = min(self._retry_seconds * 2, _patience(error))
            self._changed.notify_all()


def _patience(error: Exception) -> float:
    """The longest time between two tries, seconds."""
    if isinstance(error, Unauthenticated):
        return REFUSED_RETRY_SECONDS_FIRST
    return REFUSED_RETRY_SECONDS_MAX if is_refusal(error) else RETRY_SECONDS_MAX
