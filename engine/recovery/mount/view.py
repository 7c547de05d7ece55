"""One tree as nodes: a stream at a recovery point, with the source's own paths where a restore would put them.

The content of a source with one path stands at the top, as `bcsctl restore` lands it; its whole path may be typed all
the same. A source with several paths keeps them whole.
"""

from __future__ import annotations

import errno
import os
import threading
from collections import OrderedDict

from engine.fuse import protocol as fuse
from engine.fuse.turns import Turn
from engine.journal.data import DataReader
from engine.model import xattrs
from engine.model.events import ROOT_ID
from engine.model.ids import Position
from engine.query.session import Session
from engine.recovery.mount.contents import Contents
from engine.recovery.mount.listing import FOR_EVER, Listing, line, listing
from engine.recovery.mount.numbers import node_of
from engine.recovery.mount.rows import Rows, rows_of

LISTINGS_BYTES = 64 << 20


class View:
    """A tree by file_ids; nodes are its `number` and them. Safe for several threads."""

    def __init__(
        self,
        session: Session,
        reader: DataReader,
        stream: str,
        position: Position,
        number: int,
        paths: list[bytes],
        turn: Turn,
    ) -> None:
        self.number = number
        self._rows: Rows = rows_of(session, stream, position)
        self._contents = Contents(session, reader, stream, position, turn)
        self._turn = turn
        self._lock = threading.Lock()
        self._listings: OrderedDict[int, Listing] = OrderedDict()
        self._listings_bytes = 0
        top = self._rows.directory_at(paths[0]) if len(paths) == 1 else None
        self._top = ROOT_ID if top is None else top
        self._stem = paths[0].split(b"/")[1] if top is not None and paths[0] != b"/" else None

    def __len__(self) -> int:
        """How many names it holds."""
        return len(self._rows)

    def attributes(self, file_id: int) -> fuse.Attributes:
        node, real = node_of(self.number, file_id), self._real(file_id)
        if real == ROOT_ID:
            return fuse.Attributes(node, 0o40555, links=2)
        row = self._rows.row(self._at(real))
        return fuse.Attributes(
            *(node, row.mode, row.size, row.mtime_ns, row.uid, row.gid, row.links, row.rdev, row.stored)
        )  # fmt: skip

    def lookup(self, directory: int, name: bytes) -> bytes:
        """`protocol.entry` of a name."""
        if name in (b".", b".."):
            found = self.attributes(directory if name == b"." else self._above(directory))
            return fuse.entry(found.node, found.packed(), FOR_EVER, FOR_EVER)
        row = self._rows.find(self._real(directory), name)
        if row is None and directory == ROOT_ID and name == self._stem:
            row = self._rows.find(ROOT_ID, name)
        if row is None:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        return line(row, node_of(self.number, row.file_id), 0, FOR_EVER)[: fuse.ENTRY_BYTES]

    def listing(self, directory: int) -> Listing:
        with self._lock:
            known = self._listings.get(directory)
            if known is not None:
                self._listings.move_to_end(directory)
                return known
        self._turn.pass_on()
        node, above = node_of(self.number, directory), node_of(self.number, self._above(directory))
        rows = self._rows.entries(self._real(directory))
        made = listing(node, above, ((row, node_of(self.number, row.file_id)) for row in rows), FOR_EVER)
        with self._lock:
            if directory not in self._listings:
                self._listings[directory] = made
                self._listings_bytes += made.size
                while self._listings_bytes > LISTINGS_BYTES and len(self._listings) > 1:
                    _, old = self._listings.popitem(last=False)
                    self._listings_bytes -= old.size
        return made

    def read(self, file_id: int, offset: int, size: int) -> list[memoryview]:
        return self._contents.read(file_id, self._rows.size(self._at(file_id)), offset, size)

    def seek(self, file_id: int, offset: int, whence: int) -> int:
        return self._contents.seek(file_id, self._rows.size(self._at(file_id)), offset, whence)

    def target(self, file_id: int) -> bytes:
        return self._rows.target(self._at(file_id))

    def xattrs(self, file_id: int) -> dict[bytes, bytes]:
        real = self._real(file_id)
        kept = self._rows.xattrs(self._at(real)) if real != ROOT_ID else b""
        return xattrs.decode(kept) if kept else {}

    def _real(self, file_id: int) -> int:
        """The view's own root stands for the directory that is shown at its top."""
        return self._top if file_id == ROOT_ID else file_id

    def _above(self, directory: int) -> int:
        if directory in (ROOT_ID, self._top):
            return ROOT_ID
        parent = self._rows.parent(self._at(directory))
        return ROOT_ID if parent == self._top else parent

    def _at(self, file_id: int) -> int:
        """The row of an inode. ESTALE for a number that means nothing."""
        found = self._rows.index(file_id)
        if found is None:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return found
