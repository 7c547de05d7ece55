"""A restored tree as a stream of batches: what a host is sent that restores without the journal and without keys.

The events are those of a stream as agents ship them, in four parts one after another:

    directories   a dentry each, parents first: to be made
    files         a dentry in every batch that holds some of their bytes; further names and the inode with the last
    others        links, fifos, sockets, devices: an inode, a dentry for each name
    directories   an inode each, deepest first: to be finished; that of file_id ROOT_ID is the target's own

With its extents a batch has a record `hashes`: the BLAKE3, 16 bytes each, of every extent's bytes in the order of the
extents, in base64. Damage is told where it is met, as a record `failed` {file_id, message}. A batch names the restore
as its stream and the plan's fingerprint as the batch before: batches of different plans can't be mixed.

Whoever wants to know beforehand what will be there asks for listings: of files their inodes and names alone, in the
order of their bytes, with a record `batches`: for each the first and the last batch that holds something of it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from typing import Any

from blake3 import blake3

from engine.journal.data import DataReader
from engine.journal.open import Journal
from engine.model.errors import BcsError, Damaged
from engine.model.events import DIRECTORY, ROOT_ID, Inode
from engine.model.extents import Piece
from engine.plan.restore import Made, RestorePlan
from engine.plan.restore_batches import Cut, Part, cuts, where
from engine.wire.batch import HASH_BYTES, encode
from engine.wire.columns import TABLES
from engine.wire.frames import Frame, FrameFiller

TARGET = b"/"
"""Plans to send are made for this target: the host says which directory of its own stands for it."""

NODES_A_BATCH = 10_000
LSNS_A_BATCH = 1 << 20
_MADE_UP = 1 << 60
"""From here on are the file_ids of directories that only lead to others, and were never described."""


@dataclass(frozen=True, slots=True)
class _Directory:
    path: bytes
    file_id: int
    inode: Inode | None


@dataclass(slots=True)
class Rows:
    """Events of one batch, numbered as they come."""

    lsn: int
    tables: dict[str, list[tuple[Any, ...]]] = field(default_factory=lambda: {name: [] for name in TABLES})

    def add(self, table: str, *values: Any) -> None:
        self.tables[table].append((self.lsn, *values))
        self.lsn += 1

    def inode(self, one: Inode, file_id: int) -> None:
        head = (one.at, file_id, ord(one.type), one.mode, one.uid, one.gid, one.size)
        self.add("inode", *head, one.mtime_ns, one.rdev, one.target, one.xattrs)


class Sending:
    """All batches of one restore. What each holds is decided here; it is made when it is asked for, on any thread."""

    def __init__(
        self,
        journal: Journal,
        id: str,
        stream: str,
        plan: RestorePlan,
        pieces: Mapping[int, Sequence[Piece]],
        reader: DataReader | None = None,
    ) -> None:
        """`plan` has TARGET as its target."""
        self.id = id
        self.plan = plan
        self._stream = stream
        self._reader = reader or DataReader(journal)
        found = sorted(((one, tuple(pieces.get(one.inode.file_id, ()))) for one in plan.files), key=_order)
        self._files = [one for one, _ in found]
        self._pieces = [of_file for _, of_file in found]
        self._cuts = cuts(self._pieces)
        self._directories = _directories(plan)
        self._ids = {each.path: each.file_id for each in self._directories} | {TARGET: ROOT_ID}
        self._finished = [each for each in reversed(self._directories) if each.inode is not None]
        top = [one.inode for one in plan.directories if one.target == TARGET]
        self._finished += [_Directory(TARGET, ROOT_ID, inode) for inode in top]
        self._steps = [
            *(("made", start) for start in range(0, len(self._directories), NODES_A_BATCH)),
            *(("files", index) for index in range(len(self._cuts))),
            *(("others", start) for start in range(0, len(plan.others), NODES_A_BATCH)),
            *(("finished", start) for start in range(0, len(self._finished), NODES_A_BATCH)),
        ]
        self.fingerprint = _fingerprint(self._steps, self._cuts, self._files)

    def __len__(self) -> int:
        """How many batches there are."""
        return len(self._steps)

    @property
    def steps(self) -> list[tuple[str, int]]:
        """(step, how many batches it has), in order."""
        return [(name, len(list(run))) for name, run in groupby(name for name, _ in self._steps)]

    def batch(self, number: int, *, data: bool = True) -> list[bytes]:
        """Batch `number`, from 0, as buffers; without `data` extents are holes and only their hashes tell of them.

        Damage of the journal is told in the batch; any other error is raised.
        """
        step, at = self._steps[number]
        first = number * LSNS_A_BATCH + 1
        rows, frames = Rows(first), list[Frame]()
        if step == "made":
            for directory in self._directories[at : at + NODES_A_BATCH]:
                self._dentry(rows, directory.path, directory.file_id)
        elif step == "files":
            frames = self._file_rows(rows, self._cuts[at], data)
        elif step == "others":
            for one in self.plan.others[at : at + NODES_A_BATCH]:
                rows.inode(one.inode, one.inode.file_id)
                for name in (one.target, *one.links):
                    self._dentry(rows, name, one.inode.file_id)
        else:
            for directory in self._finished[at : at + NODES_A_BATCH]:
                assert directory.inode is not None
                rows.inode(directory.inode, directory.file_id)
        buffers, _ = encode(self.id, 1, first, self.fingerprint, rows.tables, frames)
        return buffers

    @property
    def listings(self) -> int:
        """How many listings there are."""
        return -(-len(self._files) // NODES_A_BATCH)

    def listing(self, number: int) -> list[bytes]:
        """Listing `number`, from 0, as buffers: names and attributes of files, and which batches hold them."""
        first = number * LSNS_A_BATCH + 1
        rows, start = Rows(first), number * NODES_A_BATCH
        for one in self._files[start : start + NODES_A_BATCH]:
            rows.inode(one.inode, one.inode.file_id)
            for name in (one.target, *one.links):
                self._dentry(rows, name, one.inode.file_id)
        spans = self._spans[start : start + NODES_A_BATCH]
        rows.add("record", 0, b"batches", json.dumps(spans, separators=(",", ":")).encode())
        buffers, _ = encode(self.id, 1, first, self.fingerprint, rows.tables, [])
        return buffers

    @cached_property
    def _spans(self) -> list[tuple[int, int]]:
        """Of each file the first and the last batch that holds some of it."""
        first = sum(step == "made" for step, _ in self._steps)
        found: list[tuple[int, int]] = []
        for number, cut in enumerate(self._cuts, first):
            for file in range(cut.file, cut.file_last + 1):
                if file < len(found):
                    found[file] = (found[file][0], number)
                else:
                    found.append((number, number))
        return found

    def _dentry(self, rows: Rows, path: bytes, file_id: int) -> None:
        parent, name = path.rsplit(b"/", 1)
        rows.add("dentry", 0, self._ids[parent or TARGET], name, file_id)

    def _file_rows(self, rows: Rows, cut: Cut, data: bool) -> list[Frame]:
        parts = list(cut.parts(self._pieces))
        content = Content(self._reader, self._stream, data)
        for part in parts:
            content.want(self._pieces[part.file][part.first : part.end])
        content.open()
        hashes: list[bytes] = []
        for part in parts:
            made = self._files[part.file]
            hashes += content.extents(rows, made.inode.file_id, self._pieces[part.file][part.first : part.end])
            self._names(rows, made, part)
        if hashes:
            rows.add("record", 0, b"hashes", base64.b64encode(b"".join(hashes)))
        return content.frames()

    def _names(self, rows: Rows, made: Made, part: Part) -> None:
        for name in (made.target, *(made.links if part.last else ())):
            self._dentry(rows, name, made.inode.file_id)
        if part.last:
            rows.inode(made.inode, made.inode.file_id)


class Content:
    """The frames of one batch: handed on as they are where all of their bytes are asked for, else cut and closed anew,
    so that nothing leaves that was not asked for."""

    def __init__(self, reader: DataReader, stream: str, data: bool) -> None:
        self._reader, self._stream, self._data = reader, stream, data
        self._wanted: dict[tuple[str, int], list[Piece]] = {}
        self._raw: dict[tuple[str, int], memoryview | BcsError] = {}
        self._whole: dict[tuple[str, int], int] = {}
        self._kept: list[Frame] = []
        self._filler = FrameFiller()
        self._later: list[tuple[list[tuple[Any, ...]], int]] = []

    def want(self, pieces: Sequence[Piece]) -> None:
        for piece in pieces:
            if piece.data is not None:
                self._wanted.setdefault((piece.data.pack, piece.data.frame), []).append(piece)

    def open(self) -> None:
        """Read the frames, and see which may be handed on whole."""
        for key, pieces in self._wanted.items():
            assert pieces[0].data is not None
            try:
                frame, raw = self._reader.unsealed(*key, pieces[0].data.frame_bytes)
            except Damaged as error:
                self._raw[key] = error
                continue
            self._raw[key] = raw
            if self._data and covered(pieces) == len(raw):
                self._whole[key] = len(self._kept)
                self._kept.append(frame)

    def extents(self, rows: Rows, file_id: int, pieces: Sequence[Piece]) -> Iterator[bytes]:
        """Add a file's extents, each checked against the journal's hash; the hashes for the host. What is damaged is
        told instead, once for these pieces."""
        failed = ""
        for piece in pieces:
            try:
                part = self._bytes(piece)
            except Damaged as error:
                failed = failed or error.message
                continue
            self._extent(rows, file_id, piece, part)
            yield blake3(part).digest(HASH_BYTES)
        if failed:
            told = {"file_id": file_id, "message": failed}
            rows.add("record", 0, b"failed", json.dumps(told).encode())

    def frames(self) -> list[Frame]:
        """The batch's frames. Rows that lie in those closed anew get their frame's number only now."""
        for table, index in self._later:
            *head, frame, skip = table[index]
            table[index] = (*head, frame + len(self._kept), skip)
        return [*self._kept, *self._filler.frames()]

    def _bytes(self, piece: Piece) -> memoryview:
        assert piece.data is not None
        raw = self._raw[piece.data.pack, piece.data.frame]
        if isinstance(raw, BcsError):
            raise raw
        extent = self._reader.checked(raw, piece.data, piece.extent_length, piece.hash, self._stream)
        return extent[piece.skip : piece.skip + piece.length]

    def _extent(self, rows: Rows, file_id: int, piece: Piece, part: memoryview) -> None:
        assert piece.data is not None
        head = (0, file_id, piece.offset, piece.length)
        frame = self._whole.get((piece.data.pack, piece.data.frame))
        if not self._data:
            rows.add("extent", *head, -1, 0)
        elif frame is not None:
            rows.add("extent", *head, frame, piece.data.skip + piece.skip)
        else:
            rows.add("extent", *head, *self._filler.add(part))
            self._later.append((rows.tables["extent"], len(rows.tables["extent"]) - 1))


def covered(pieces: Sequence[Piece]) -> int:
    """How many bytes of their one frame the pieces take up together."""
    count = end = 0
    spans = sorted((piece.data.skip + piece.skip, piece.length) for piece in pieces if piece.data is not None)
    for start, length in spans:
        count += max(0, start + length - max(start, end))
        end = max(end, start + length)
    return count


def _order(found: tuple[Made, tuple[Piece, ...]]) -> tuple[tuple[str, int, int], bytes]:
    return where(found[1]), found[0].target


def _directories(plan: RestorePlan) -> list[_Directory]:
    """Every directory below the target, parents first, those on the way to others among them."""
    known = {one.target: one.inode for one in plan.directories if one.target != TARGET}
    needed = set(known)
    names = (name for one in (*plan.directories, *plan.files, *plan.others) for name in (one.target, *one.links))
    for name in names:
        above = name.rsplit(b"/", 1)[0]
        while above and above not in needed:
            needed.add(above)
            above = above.rsplit(b"/", 1)[0]
    found = []
    for number, path in enumerate(sorted(needed)):
        inode = known.get(path)
        assert inode is None or inode.type == DIRECTORY
        found.append(_Directory(path, inode.file_id if inode else _MADE_UP + number, inode))
    return found


def _fingerprint(steps: Sequence[tuple[str, int]], found: Sequence[Cut], files: Sequence[Made]) -> bytes:
    hasher = blake3(repr(steps).encode())
    for cut in found:
        hasher.update(repr((cut.file, cut.first, cut.file_last, cut.end)).encode())
    hasher.update(b"".join(one.inode.file_id.to_bytes(8, "little") for one in files))
    return hasher.digest(HASH_BYTES)
