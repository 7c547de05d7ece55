"""What a host is given that fills a tree on demand: ranges of the files of its grant, and what it has to know of them.

A range travels as one batch of the form in which restores travel (engine.recovery.sending): extents with the BLAKE3 of
their bytes, compared with the journal's hash before they leave.
"""

from __future__ import annotations

import base64
import threading
from array import array
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import zstandard

from engine.fill.kept import names
from engine.journal.open import Journal
from engine.model.errors import NothingThere
from engine.model.extents import Piece
from engine.model.ids import Position
from engine.query.extents import extent_table
from engine.query.session import Session
from engine.recovery.on_demand.history import names_then
from engine.recovery.on_demand.lookup import Lookup
from engine.recovery.on_demand.making import data_of, holes_of
from engine.recovery.restoring import Prepared
from engine.recovery.sending import Content, Rows
from engine.wire.batch import HASH_BYTES, encode

RANGE_BYTES_MAX = 8 << 20
CACHE_BYTES, QUERY_THREADS = 8 << 20, 2
"""Of each tree, of which a node may have dozens."""
NO_PLAN = bytes(HASH_BYTES)
"""What stands in a range's batch for the plan: it belongs to none."""


class Supplied:
    """One grant's files. Safe for several threads. `folder` is its own, for as long as it lives; who drops it needs not
    wait for those who ask: what it has open goes with the last of them."""

    def __init__(self, journal: Journal, id: str, prepare: Callable[[Session], Prepared], folder: Path) -> None:
        """`prepare` works out the plan of the grant, which is as large as the tree: it is not kept once bytes flow."""
        self.id = id
        self._journal, self._prepare = journal, prepare
        with Session(journal) as session:
            prepared = prepare(session)
        self._prepared: Prepared | None = prepared
        self._granted = array("Q", sorted({made.inode.file_id for made in prepared.plan.files}))
        point: Position = prepared.point.position
        self._lookup = Lookup(
            folder, prepared.stream.id, point, lambda: journal, cache_bytes=CACHE_BYTES, threads=QUERY_THREADS
        )
        self._lock = threading.Lock()
        self._pages: list[bytes] | None = None

    def range(self, file_id: int, offset: int, length: int) -> bytes:
        """The data in [offset, offset+length) of a file, as a batch; what is damaged is told in it. NothingThere for
        a file that is none of the grant's."""
        if not self._is_granted(file_id):
            raise NothingThere(f"file {file_id} is not of restore {self.id}")
        self._prepared = None
        whole, damaged = self._batch(file_id, offset, length)
        if damaged and self._lookup.moved(file_id, offset, offset + length):
            whole, _ = self._batch(file_id, offset, length)
        return whole

    def heat(self) -> dict[int, tuple[int, int]]:
        """Of its files that were changed before, how often, and when last."""
        return {file_id: told for file_id, told in self._lookup.heat().items() if self._is_granted(file_id)}

    def holes(self) -> dict[int, int]:
        """How many bytes of holes its files have at least, by file_id."""
        with Session(self._journal) as session:
            return holes_of(session, self._plan(session))

    def data(self) -> dict[int, tuple[tuple[int, int], ...]]:
        """The ranges with data, (offset, length), of those that have holes."""
        with Session(self._journal) as session:
            sparse = set(holes_of(session, self._plan(session)))
            return data_of(extent_table(session, self._lookup.stream, self._lookup.position, sparse), sparse)

    def names(self, page: int) -> bytes | None:
        """Part of all names of the source then (engine.fill.kept.names), compressed; None behind the last. Kept until
        that was asked for."""
        with self._lock:
            if self._pages is None:
                self._pages = self._names()
            if page < len(self._pages):
                return self._pages[page]
            self._pages = None
            return None

    def _plan(self, session: Session) -> Prepared:
        prepared = self._prepared or self._prepare(session)
        self._prepared = prepared
        return prepared

    def _is_granted(self, file_id: int) -> bool:
        at = bisect_left(self._granted, file_id)
        return at < len(self._granted) and self._granted[at] == file_id

    def _names(self) -> list[bytes]:
        with Session(self._journal) as session:
            found = names.batched(names_then(session, self._plan(session)))
            return [zstandard.compress(names.packed(page)) for page in found]

    def _batch(self, file_id: int, offset: int, length: int) -> tuple[bytes, bool]:
        pieces = _clipped(self._lookup.pieces(file_id, offset, offset + length), offset, offset + length)
        content = Content(self._lookup.reader(), self._lookup.stream, True)
        content.want(pieces)
        content.open()
        rows = Rows(1)
        hashes = list(content.extents(rows, file_id, pieces))
        damaged = len(hashes) < len(pieces)
        rows.add("record", 0, b"hashes", base64.b64encode(b"".join(hashes)))
        buffers, _ = encode(self.id, 1, 1, NO_PLAN, rows.tables, content.frames())
        return b"".join(buffers), damaged


def _clipped(pieces: Sequence[Piece], start: int, end: int) -> list[Piece]:
    """The pieces, cut off at both ends."""
    found = []
    for piece in pieces:
        first, last = max(start, piece.offset), min(end, piece.offset + piece.length)
        found.append(replace(piece, offset=first, length=last - first, skip=piece.skip + first - piece.offset))
    return found
