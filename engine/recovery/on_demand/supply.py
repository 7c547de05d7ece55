"""Contents from the journal on this machine, from the first read on.

Where a file's bytes lie is asked, in this order, of the index of all files, once it is there; of the small one that was
written with the tree; of the journal, for this file alone. Libraries that take long to load are loaded beside the
first reads, in a thread.
"""

from __future__ import annotations

import threading
import traceback
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engine.fill.base import Away, ColdFile, Place, Recipe
from engine.journal.data import DataReader
from engine.journal.open import Journal, open_local
from engine.model.errors import BcsError, Damaged
from engine.model.extents import Piece
from engine.model.ids import parse_position
from engine.recovery.on_demand.index import Index

if TYPE_CHECKING:
    from engine.query.session import Session

CACHE_BYTES = 128 << 20
FILES_KEPT = 512
EXTENTS_MAX = 10_000_000
"""Of trees with more extents files are looked up one by one for ever: finding all at once would take a gigabyte."""


class LocalSupply:
    """See engine.fill.base.Supply."""

    def __init__(self, place: Place, recipe: Recipe, *, in_background: bool = True) -> None:
        self._place, self._stream, self._position = place, recipe.stream, parse_position(recipe.position)
        self._open: Callable[[], Journal] = lambda: open_local(
            Path(recipe.supply["journal"]), bytes.fromhex(Path(recipe.supply["master_key"]).read_text("ascii").strip())
        )
        self._lock, self._asking = threading.Lock(), threading.RLock()
        self._journal: Journal | None = None
        self._reader: DataReader | None = None
        self._session: Session | None = None
        self._single: OrderedDict[int, list[Piece]] = OrderedDict()
        self._all = Index(all_of(place)) if all_of(place).exists() else None
        self._first = Index(first_of(place)) if first_of(place).exists() else None
        if in_background and self._all is None:
            threading.Thread(target=self._index_all, name="index", daemon=True).start()

    def read(self, file: ColdFile, offset: int, length: int) -> Sequence[tuple[int, memoryview]]:
        try:
            return self._read(file, offset, length)
        except Damaged:
            if not self._moved(file.file_id, offset, offset + length):
                raise
            return self._read(file, offset, length)
        except (OSError, BcsError) as error:  # the journal's disk is not there, say
            raise Away(str(error)) from error

    def heat(self) -> dict[int, tuple[int, int]]:
        from engine.query import asof, sql

        session = self._asked()
        found = asof.as_of(session, self._stream, self._position)
        rows = session.rows(sql.fill("heat", events=found.events))
        return {file_id: (count, at) for file_id, count, at in rows}

    def close(self) -> None:
        with self._asking:
            if self._session is not None:
                self._session.close()

    def _read(self, file: ColdFile, offset: int, length: int) -> list[tuple[int, memoryview]]:
        reader, found = self._opened(), []
        for piece in self._pieces(file.file_id, offset, offset + length):
            data = reader.read(piece, self._stream)
            first, last = max(offset, piece.offset), min(offset + length, piece.offset + piece.length)
            found.append((first, data[first - piece.offset : last - piece.offset]))
        return found

    def _pieces(self, file_id: int, start: int, end: int) -> Sequence[Piece]:
        for index in (self._all, self._first):
            if index is not None and (index is self._all or index.has(file_id)):
                return list(index.between(file_id, start, end))
        with self._lock:
            known = self._single.get(file_id)
        if known is None:
            known = self._ask(file_id)
        return _within(known, start, end)

    def _ask(self, file_id: int) -> list[Piece]:
        from engine.query.extents import pieces

        found = pieces(self._asked(), self._stream, self._position, [file_id])[file_id]
        with self._lock:
            self._single[file_id] = found
            while len(self._single) > FILES_KEPT:
                self._single.popitem(last=False)
        return found

    def _opened(self) -> DataReader:
        with self._lock:
            if self._reader is None:
                self._journal = self._journal or self._open()
                self._reader = DataReader(self._journal, cache_bytes=CACHE_BYTES)
            return self._reader

    def _asked(self) -> Session:
        from engine.query.session import Session

        self._opened()
        assert self._journal is not None
        with self._asking:
            if self._session is None:
                self._session = Session(self._journal)
            return self._session

    def _index_all(self) -> None:
        from engine.query.extents import extent_table
        from engine.recovery.on_demand import index

        try:
            session = self._asked()
            if self._extents(session) > EXTENTS_MAX:
                return
            index.write(all_of(self._place), extent_table(session, self._stream, self._position))
            self._all = Index(all_of(self._place))
        except (BcsError, OSError):
            traceback.print_exc()  # file by file then
        with self._lock:
            self._single.clear()

    def _extents(self, session: Session) -> int:
        from engine.query import asof

        found = asof.as_of(session, self._stream, self._position)
        [(count,)] = session.rows(f"SELECT count(*) FROM {found.events} WHERE kind = 3")
        return int(count)

    def _moved(self, file_id: int, start: int, end: int) -> bool:
        """Whether bytes lie elsewhere than was known, since segments were merged; then all is looked up anew."""
        known = self._pieces(file_id, start, end)
        self._asked().refresh()
        with self._lock:
            self._single.clear()
        if _within(self._ask(file_id), start, end) == list(known):
            return False
        with self._lock:
            self._reader = None
            self._all = self._first = None
        for path in (all_of(self._place), first_of(self._place)):
            path.unlink(missing_ok=True)
        threading.Thread(target=self._index_all, name="index", daemon=True).start()
        return True


def _within(known: Sequence[Piece], start: int, end: int) -> list[Piece]:
    """Of the pieces of a file, in order of offset, those that meet [start, end)."""
    first = max(0, bisect_right(known, start, key=lambda piece: piece.offset) - 1)
    last = bisect_left(known, end, key=lambda piece: piece.offset)
    return [piece for piece in known[first:last] if piece.offset + piece.length > start]


def first_of(place: Place) -> Path:
    """The index of the small files, written with the tree: an application touches many of them at its start."""
    return place.supply / "first"


def all_of(place: Place) -> Path:
    return place.supply / "all"
