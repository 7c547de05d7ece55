"""New epochs that continue an older position: what came after it is a branch from then on, listed and restorable."""

from __future__ import annotations

from contextlib import AbstractContextManager, suppress

from engine.env.clock import Clock
from engine.journal import epochs
from engine.journal.ledger import Ledger
from engine.model.ids import Position
from engine.model.lineage import Epoch
from engine.store.base import AlreadyThere, Store


class Forks:
    """Opens such epochs at a committer, with whose ledger and lock it works."""

    def __init__(self, store: Store, ledger: Ledger, lock: AbstractContextManager[object], clock: Clock) -> None:
        self._store, self._ledger, self._lock, self._clock = store, ledger, lock, clock

    def open(self, stream: str, parent: Position, cause: str) -> Epoch:
        """The epoch. Whoever wrote last may go on in it; what is under way still goes where it belongs.

        Idempotent, as long as the newest epoch has this cause. Refused for a stream that is not registered.
        """
        while True:
            with self._lock:
                newest, _ = self._ledger.current(stream)
            if newest is not None and newest.cause == cause:
                return newest
            number, writer = (newest.number + 1, newest.writer) if newest else (1, "")
            with suppress(AlreadyThere):  # somebody else was first: judge again with that one known
                epochs.grant(self._store, stream, number, parent, cause, writer, self._clock)
            granted = epochs.read_epoch(self._store, stream, number)
            with self._lock:
                self._ledger.grant(stream, granted)
