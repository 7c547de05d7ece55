"""What this node gives to hosts that fill trees on demand: worked out for a grant when first asked for, and kept while
it is asked."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from engine.env.clock import SYSTEM, Clock
from engine.env.own_directory import OwnDirectory
from engine.journal.open import Journal
from engine.model.ids import parse_position
from engine.model.points import Point
from engine.query import streams
from engine.query.session import Session
from engine.recovery.on_demand.supplying import Supplied
from engine.recovery.restoring import Prepared, prepare_for
from engine.recovery.sending import TARGET

SUPPLIED_MAX, ASKED_MAX, IDLE_SECONDS = 8, 64, 60.0
"""Of so many trees it is kept where their bytes lie, of those that somebody asks for of more: the many of a group fill
side by side, and to work it out anew takes longer than what is asked for."""
THREADS = 4


class Given(Protocol):
    """What is given: `path` (as os.fsdecode gives it) of a stream as of a point, all of it for None."""

    @property
    def id(self) -> str: ...
    @property
    def stream(self) -> str: ...
    @property
    def position(self) -> str: ...
    @property
    def point_at(self) -> int: ...
    @property
    def point_class(self) -> str: ...
    @property
    def path(self) -> str | None: ...


@dataclass(slots=True)
class _Kept:
    supplied: Supplied
    folder: OwnDirectory
    asked_at: float


class Supplies:
    """For any number of threads; `pool` is where they are asked."""

    def __init__(self, journal: Journal, clock: Clock = SYSTEM) -> None:
        self._journal, self._clock = journal, clock
        self.pool = ThreadPoolExecutor(THREADS, "supplier")
        self._lock = threading.Lock()
        self._known: OrderedDict[str, _Kept] = OrderedDict()
        self._making: dict[str, threading.Lock] = {}

    def of(self, grant: Given) -> Supplied:
        """What a grant gives. NothingThere, when its path is there no more."""
        with self._lock:
            making = self._making.setdefault(grant.id, threading.Lock())
        with making:
            with self._lock:
                if grant.id in self._known:
                    self._known.move_to_end(grant.id)
                    self._known[grant.id].asked_at = self._clock.monotonic()
                    return self._known[grant.id].supplied
            made = self._made(grant)
            with self._lock:
                self._known[grant.id] = made
                old = list(self._old())
        for each in old:
            each.folder.remove()
        return made.supplied

    def _old(self) -> Iterator[_Kept]:
        """Those that are kept no longer, taken out; the first of all is the one that was asked for longest ago."""
        now = self._clock.monotonic()
        while len(self._known) > SUPPLIED_MAX:
            first = next(iter(self._known.values()))
            if len(self._known) <= ASKED_MAX and now - first.asked_at < IDLE_SECONDS:
                return
            yield self._known.popitem(last=False)[1]

    def forget(self, id: str) -> None:
        """It is over."""
        with self._lock:
            found = self._known.pop(id, None)
            self._making.pop(id, None)
        if found is not None:
            found.folder.remove()

    def shut(self) -> None:
        self.pool.shutdown(wait=False, cancel_futures=True)
        for id in list(self._known):
            self.forget(id)

    def _made(self, grant: Given) -> _Kept:
        path = None if grant.path is None else grant.path.encode("utf-8", "surrogateescape")
        point = Point(parse_position(grant.position), grant.point_at, 0, grant.point_class)

        def prepare(session: Session) -> Prepared:
            stream = streams.info(self._journal, grant.stream)
            return prepare_for(self._journal, session, stream, point, path, TARGET)

        folder = OwnDirectory("supply")
        supplied = Supplied(self._journal, grant.id, prepare, folder.path)
        return _Kept(supplied, folder, self._clock.monotonic())
