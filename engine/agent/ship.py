"""Shipping: a thread that sends one stream's batches to the node, strictly in order, until each is acknowledged.

It decides nothing. A node that does not answer is asked again with back-off; one that is elsewhere in the stream stops
the shipping until the source has looked into it (`trouble`).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.agent.client import Head, Node, OutOfOrder
from engine.agent.record import Place
from engine.agent.spool import Spool, SpoolDamaged
from engine.env.crash import crash
from engine.model.errors import BcsError, Unreachable
from engine.wire.batch import hash_of

IN_MEMORY_BYTES = 48 << 20
RETRY_SECONDS_FIRST, RETRY_SECONDS_MAX = 0.05, 2.0
REFUSED_RETRY_SECONDS = 5.0
STOP_SECONDS = 1.0


@dataclass(slots=True)
class Parcel:
    """A batch on its way. `buffers` None: read it from the spool at `place`."""

    lsn_first: int
    lsn_last: int
    hash: bytes
    events: int
    at: int
    through_at: int
    place: Place
    buffers: Sequence[bytes] | None
    stored_bytes: int


class Shipper:
    """The thread and its queue. All methods may be called from the source's thread."""

    def __init__(self, connect: Callable[[], Node], stream: str, host: str, spool: Spool) -> None:
        self._connect, self._stream, self._host, self._spool = connect, stream, host, spool
        self._changed = threading.Condition()
        self._queue: deque[Parcel] = deque()
        self._bytes_in_memory = 0
        self.waiting_events = 0
        self._released = False
        self._stopping = False
        self.acknowledged: Parcel | None = None
        self.trouble: Head | None = None
        self.message = ""
        self.spool_damaged = False
        self._thread = threading.Thread(target=self._run, name=f"ship {stream}", daemon=True)
        self._thread.start()

    def offer(self, parcel: Parcel) -> None:
        """Take over a batch that follows all offered before. Never blocks."""
        with self._changed:
            if parcel.place.segment >= 0 and self._bytes_in_memory + parcel.stored_bytes > IN_MEMORY_BYTES:
                parcel.buffers = None
            if parcel.buffers is not None:
                self._bytes_in_memory += parcel.stored_bytes
            self._queue.append(parcel)
            self.waiting_events += parcel.events
            self._changed.notify_all()

    def wait_until(self, waiting_max: int, timeout_seconds: float) -> bool:
        """Wait until at most `waiting_max` batches are unacknowledged; whether that is so."""
        with self._changed:
            return self._changed.wait_for(
                lambda: len(self._queue) <= waiting_max or self.trouble is not None, timeout_seconds
            )

    @property
    def waiting(self) -> int:
        """Batches not acknowledged."""
        return len(self._queue)

    def release(self) -> None:
        """The stream is open at the node: begin to send."""
        with self._changed:
            self._released, self.trouble = True, None
            self._changed.notify_all()

    def reset(self) -> None:
        """Forget what waits, and send nothing until the next `release`."""
        with self._changed:
            self._queue.clear()
            self._bytes_in_memory = self.waiting_events = 0
            self._released, self.trouble, self.acknowledged = False, None, None

    def stop(self) -> None:
        """End the thread; what waits stays in the spool."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        node = self._connect()
        retry_seconds = RETRY_SECONDS_FIRST
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or (self._queue and self._released and not self.trouble))
                if self._stopping:
                    break
                parcel = self._queue[0]
            try:
                node.send(self._stream, self._host, parcel.buffers or [self._from_spool(parcel)])
                crash("sent")
                self._done(parcel)
                self.message, retry_seconds = "", RETRY_SECONDS_FIRST
            except OutOfOrder as error:
                self._reorder(parcel, error.head)
            except SpoolDamaged as error:
                self.message, self.spool_damaged = error.message, True
                with self._changed:
                    self._changed.wait_for(lambda: self._stopping)
            except (BcsError, OSError) as error:
                if parcel is not self._first():
                    continue  # it was taken back meanwhile
                self.message = str(error)
                if not isinstance(error, Unreachable):
                    retry_seconds = REFUSED_RETRY_SECONDS
                with self._changed:
                    self._changed.wait_for(lambda: self._stopping, retry_seconds)
                retry_seconds = min(retry_seconds * 2, RETRY_SECONDS_MAX)
        node.close()

    def _from_spool(self, parcel: Parcel) -> bytes:
        data = self._spool.read(parcel.place)
        if hash_of(data) != parcel.hash:
            raise SpoolDamaged(f"batch {parcel.lsn_first} to {parcel.lsn_last} was changed in the spool")
        return data

    def _first(self) -> Parcel | None:
        with self._changed:
            return self._queue[0] if self._queue else None

    def _done(self, parcel: Parcel) -> None:
        with self._changed:
            if not self._queue or self._queue[0] is not parcel:
                return
            self._queue.popleft()
            self.waiting_events -= parcel.events
            if parcel.buffers is not None:
                self._bytes_in_memory -= parcel.stored_bytes
            self.acknowledged = parcel
            self._changed.notify_all()

    def _reorder(self, parcel: Parcel, head: Head) -> None:
        """The node is elsewhere. If it is at the end of a batch that waits here, those up to it are acknowledged."""
        with self._changed:
            ends = [(waiting.lsn_last, waiting.hash) for waiting in self._queue]
            ahead = ends.index((head.lsn, head.hash)) + 1 if (head.lsn, head.hash) in ends else 0
            if not ahead and parcel is (self._queue[0] if self._queue else None):
                self.trouble = head
                self._changed.notify_all()
        for _ in range(ahead):
            first = self._first()
            if first is not None:
                self._done(first)
