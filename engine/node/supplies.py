"""What this node gives to hosts that fill trees on demand: worked out for a grant when first asked for, and kept while
it is asked."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from engine.env.own_directory import OwnDirectory
from engine.journal.open import Journal
from engine.model.ids import parse_position
from engine.model.points import Point
from engine.query import streams
from engine.query.session import Session
from engine.recovery.on_demand.supplying import Supplied
from engine.recovery.restoring import Prepared, prepare_for
from engine.recovery.sending import TARGET

SUPPLIED_MAX = 8
"""Of so many trees at once it is kept where their bytes lie."""
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


class Supplies:
    """For any number of threads; `pool` is where they are asked."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.pool = ThreadPoolExecutor(THREADS, "supplier")
        self._lock = threading.Lock()
        self._known: OrderedDict[str, tuple[Supplied, OwnDirectory]] = OrderedDict()
        self._making: dict[str, threading.Lock] = {}

    def of(self, grant: Given) -> Supplied:
        """What a grant gives. NothingThere, when its path is there no more."""
        with self._lock:
            making = self._making.setdefault(grant.id, threading.Lock())
        with making:
            with self._lock:
                if grant.id in self._known:
                    self._known.move_to_end(grant.id)
                    return self._known[grant.id][0]
            made = self._made(grant)
            with self._lock:
                self._known[grant.id] = made
                old = [self._known.popitem(last=False)[1] for _ in range(len(self._known) - SUPPLIED_MAX)]
        for each in old:
            each[1].remove()
        return made[0]

    def forget(self, id: str) -> None:
        """It is over."""
        with self._lock:
            found = self._known.pop(id, None)
            self._making.pop(id, None)
        if found is not None:
            found[1].remove()

    def shut(self) -> None:
        self.pool.shutdown(wait=False, cancel_futures=True)
        for id in list(self._known):
            self.forget(id)

    def _made(self, grant: Given) -> tuple[Supplied, OwnDirectory]:
        path = None if grant.path is None else grant.path.encode("utf-8", "surrogateescape")
        point = Point(parse_position(grant.position), grant.point_at, 0, grant.point_class)

        def prepare(session: Session) -> Prepared:
            stream = streams.info(self._journal, grant.stream)
            return prepare_for(self._journal, session, stream, point, path, TARGET)

        folder = OwnDirectory("supply")
        return Supplied(self._journal, grant.id, prepare, folder.path), folder
