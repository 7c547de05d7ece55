"""Where the bytes of a tree's files lie, from the first question on.

Asked, in this order, of the index of all files, once it is there; of the small one that was written with the tree, if
there is one; of the journal, for this file alone. Libraries that take long to load are loaded beside the first reads,
in a thread. What overlaps is overlaid only where somebody reads: all of it at once would take seconds for a
large tree, most of them in Python, for which everybody else would wait.
"""

from __future__ import annotations

import threading
import traceback
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engine.env.clock import SYSTEM
from engine.journal.data import DataReader
from engine.journal.open import Journal
from engine.model.errors import BcsError
from engine.model.extents import Piece
from engine.model.ids import Position
from engine.recovery.on_demand.index import Index

if TYPE_CHECKING:
    from engine.query.session import Session

CACHE_BYTES = 128 << 20
FILES_KEPT = 512
ALONE_MAX, PATIENCE_SECONDS = 4, 2.0
"""So many files are asked for alone while the index is being made: what an application needs for its start. Others wait
for it, so long in all: asking for each would take longer, and the index longer too."""
EXTENTS_MAX = 10_000_000
"""Of trees with more extents files are looked up one by one for ever: finding all at once would take a gigabyte."""


class Lookup:
    """Pieces of the files of a stream as of a position. Safe for several threads."""

    def __init__(
        self,
        folder: Path,
        stream: str,
        position: Position,
        journal: Callable[[], Journal],
        *,
        cache_bytes: int = CACHE_BYTES,
        threads: int | None = None,
        in_background: bool = True,
    ) -> None:
        """The indexes are in `folder`; `journal` is opened when it is needed first, and asked with `threads`."""
        self.stream, self.position = stream, position
        self._first_path, self._all_path = folder / "first", folder / "all"
        self._open, self._cache_bytes, self._threads = journal, cache_bytes, threads
        self._lock, self._asking = threading.Lock(), threading.RLock()
        self._journal: Journal | None = None
        self._reader: DataReader | None = None
        self._session: Session | None = None
        self._indexed = threading.Event()
        self._indexed.set()
        self._patience_seconds = PATIENCE_SECONDS
        self._single: OrderedDict[int, Index] = OrderedDict()
        self._all = Index(self._all_path) if self._all_path.exists() else None
        self._first = Index(self._first_path) if self._first_path.exists() else None
        if in_background and self._all is None:
            self._index_in_background()

    def pieces(self, file_id: int, start: int, end: int) -> Sequence[Piece]:
        """Those that meet [start, end), in order."""
        known = self._known(file_id)
        if known is None and len(self._single) >= ALONE_MAX and self._patience_seconds > 0:
            began = SYSTEM.monotonic()
            self._indexed.wait(self._patience_seconds)
            self._patience_seconds -= SYSTEM.monotonic() - began
            known = self._known(file_id)
        return list((known or self._ask(file_id)).between(file_id, start, end))

    def reader(self) -> DataReader:
        with self._lock:
            if self._reader is None:
                self._journal = self._journal or self._open()
                self._reader = DataReader(self._journal, cache_bytes=self._cache_bytes)
            return self._reader

    def heat(self) -> dict[int, tuple[int, int]]:
        """How often files were changed before, and when last: engine.fill.base.Supply."""
        from engine.query import asof, sql

        session = self._asked()
        found = asof.as_of(session, self.stream, self.position)
        rows = session.rows(sql.fill("heat", events=found.events))
        return {file_id: (count, at) for file_id, count, at in rows}

    def moved(self, file_id: int, start: int, end: int) -> bool:
        """Whether bytes lie elsewhere than was known, since segments were merged; then all is looked up anew."""
        known = self.pieces(file_id, start, end)
        self._asked().refresh()
        with self._lock:
            self._single.clear()
        if list(self._ask(file_id).between(file_id, start, end)) == list(known):
            return False
        with self._lock:
            self._reader = None
            self._all = self._first = None
        for path in (self._all_path, self._first_path):
            path.unlink(missing_ok=True)
        self._index_in_background()
        return True

    def close(self) -> None:
        with self._asking:
            if self._session is not None:
                self._session.close()

    def _known(self, file_id: int) -> Index | None:
        """An index that has the pieces of this file."""
        for index in (self._all, self._first):
            if index is not None and (index is self._all or index.has(file_id)):
                return index
        with self._lock:
            return self._single.get(file_id)

    def _ask(self, file_id: int) -> Index:
        from engine.query.extents import layers
        from engine.recovery.on_demand import index

        found = Index(index.packed(layers(self._asked(), self.stream, self.position, [file_id])))
        with self._lock:
            self._single[file_id] = found
            while len(self._single) > FILES_KEPT:
                self._single.popitem(last=False)
        return found

    def _asked(self) -> Session:
        from engine.query.session import THREADS, Session

        self.reader()
        assert self._journal is not None
        with self._asking:
            if self._session is None:
                self._session = Session(self._journal, threads=self._threads or THREADS)
            return self._session

    def _index_in_background(self) -> None:
        self._indexed.clear()
        threading.Thread(target=self._index_all, name="index", daemon=True).start()

    def _index_all(self) -> None:
        from engine.query.extents import layers
        from engine.recovery.on_demand import index

        try:
            session = self._asked()
            if self._extents(session) > EXTENTS_MAX:
                return
            index.write(self._all_path, layers(session, self.stream, self.position))
            self._all = Index(self._all_path)
        except (BcsError, OSError):
            traceback.print_exc()  # file by file then
        finally:
            self._indexed.set()
        with self._lock:
            self._single.clear()

    def _extents(self, session: Session) -> int:
        from engine.query import asof

        found = asof.as_of(session, self.stream, self.position)
        [(count,)] = session.rows(f"SELECT count(*) FROM {found.events} WHERE kind = 3")
        return int(count)
