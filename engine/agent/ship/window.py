"""The batches of one stream that are not acknowledged, in order: which may be sent now, and what answers mean for them.

A few are in flight at once, so that the node's disk and the line both have work. The node commits in order, so an
acknowledgement of one holds for all before it, and one that overtook those before it, or lost them, is sent again once
it is the first. No threads and no I/O here: the shipper holds its lock around every call.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.agent.kept.record import Place

BATCHES_MAX = 4
BYTES_MAX = 32 << 20
"""In flight at once; one batch may be larger."""


@dataclass(slots=True, eq=False)
class Parcel:
    """A batch on its way. `buffers` None: read it from the spool at `place`.

    `kept` makes durable, before it is sent, the record that names it; None where it is. OSError from it.
    `alone`: it was sent when all before it were acknowledged. `overtook`: the node refused it for lack of those before.
    """

    lsn_first: int
    lsn_last: int
    hash: bytes
    events: int
    at: int
    through_at: int
    place: Place
    buffers: Sequence[bytes] | None
    stored_bytes: int
    kept: Callable[[], None] | None = None
    in_flight: bool = False
    alone: bool = False
    overtook: bool = False

    @property
    def bytes(self) -> int:
        return self.stored_bytes or self.place.length


class Window:
    """`waiting` are all that are not acknowledged, the first first."""

    def __init__(self) -> None:
        self.waiting: deque[Parcel] = deque()
        self.in_flight = 0
        self._bytes_in_flight = 0

    def add(self, parcel: Parcel) -> None:
        self.waiting.append(parcel)

    def next(self) -> Parcel | None:
        """What to send next; None while enough is in flight, or those before it must be there first."""
        if self.in_flight >= BATCHES_MAX:
            return None
        parcel = next((each for each in self.waiting if not each.in_flight), None)
        if parcel is None or (parcel.overtook and parcel is not self.waiting[0]):
            return None
        return parcel if not self.in_flight or self._bytes_in_flight + parcel.bytes <= BYTES_MAX else None

    def begin(self, parcel: Parcel) -> None:
        """It is being sent."""
        parcel.in_flight, parcel.alone, parcel.overtook = True, parcel is self.waiting[0], False
        self.in_flight += 1
        self._bytes_in_flight += parcel.bytes

    def end(self, parcel: Parcel) -> None:
        """It is not in flight any more: acknowledged, or to be sent again. Idempotent."""
        if parcel.in_flight:
            parcel.in_flight = False
            self.in_flight -= 1
            self._bytes_in_flight -= parcel.bytes

    def acknowledged(self, lsn: int, hash: bytes) -> list[Parcel]:
        """The node has everything up to the batch that ends there: those that leave, which are none if none does."""
        if not any((each.lsn_last, each.hash) == (lsn, hash) for each in self.waiting):
            return []
        gone: list[Parcel] = []
        while not gone or gone[-1].lsn_last != lsn:
            parcel = self.waiting.popleft()
            self.end(parcel)
            gone.append(parcel)
        return gone

    def refused(self, parcel: Parcel) -> bool:
        """The node did not take it where it belongs; whether that is trouble, and not only a matter of order."""
        self.end(parcel)
        parcel.overtook = not parcel.alone
        return parcel.alone
