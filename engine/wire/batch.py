"""Batches: consecutive events of one stream as an agent ships them (docs/format.md, "Batch").

    offset  bytes  what
    0       8      "BCSBATCH"
    8       4      version, u32 (1 or 2)
    12      4      length of the header, u32
    16      32     BLAKE3 of all that follows
    48      ...    header, JSON: stream, epoch, lsn_first, lsn_last, prev, tables, columns, frames;
                   of version 2 deflated (RFC 1951) behind HEADER_LIKE
    ...     ...    columns of all tables, zstd
    ...     ...    frames, back to back

The hash's first 16 bytes are the batch's own hash, and the next batch of the stream names it
as `prev`: a batch can't be left out, repeated with other content, or put elsewhere unnoticed.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import chain
from typing import Any

import zstandard
from blake3 import blake3

from engine.wire.columns import FIRST_TABLES, TABLES, Columns, decode_table, encode_table
from engine.wire.errors import Malformed
from engine.wire.frames import Frame, FrameFiller
from engine.wire.limits import (
    BATCH_BYTES_MAX,
    COLUMNS_BYTES_MAX,
    COPIED_BYTES_MAX,
    EVENTS_MAX,
    FRAME_BYTES_MAX,
    FRAMES_MAX,
    HEADER_BYTES_MAX,
)

MAGIC = b"BCSBATCH"
VERSION = 2
"""The newest that is read here. With version 2 came copies, and headers that take a third of the bytes: of a batch with
one small change they are the largest part. A writer writes what its reader has said it reads."""

HEADER_LIKE = (
    b'0123456789abcdef,0]],[[4096,8192,1],"columns":[100,200],"frames":[[200,200,0]]}'
    b'{"stream":"","epoch":1,"lsn_first":1000000,"lsn_last":1000003,"prev":"","tables":{"dentry":1,"inode":1,'
    b'"extent":1,"mark":1,"record":1,"copy":1},"columns":[100,200],"frames":[]}'
)
"""The dictionary that headers of version 2 are deflated with (zlib, deflateSetDictionary). Part of the format."""

HASH_BYTES = 16
DIGEST_BYTES = 16
NO_HASH = bytes(HASH_BYTES)
"""What the first batch of a stream names as the one before."""

_PREFIX = struct.Struct("<8sII32s")


@dataclass(frozen=True, slots=True)
class Batch:
    """Events lsn_first..lsn_last of a stream in one epoch, as columns by table, and their frames.

    `hash` is this batch's, `prev` the one before's. Tables without rows are missing.
    """

    stream: str
    epoch: int
    lsn_first: int
    lsn_last: int
    prev: bytes
    hash: bytes
    tables: dict[str, Columns]
    frames: tuple[Frame, ...]


class BatchBuilder:
    """Gathers a stream's next events. Each method appends one and returns its LSN."""

    def __init__(
        self, stream: str, epoch: int, lsn_first: int, prev: bytes, executor: Executor | None = None, version: int = 1
    ) -> None:
        """`version` is the newest that the reader reads."""
        self.stream = stream
        self._version = version
        self.epoch = epoch
        self.lsn_first = lsn_first
        self.lsn_next = lsn_first
        self._prev = prev
        self._frames = FrameFiller(executor)
        self._rows: dict[str, list[tuple[Any, ...]]] = {name: [] for name in TABLES}
        self._settled_at: int | None = None
        self._copied_bytes = 0

    def __len__(self) -> int:
        return self.lsn_next - self.lsn_first

    @property
    def raw_bytes(self) -> int:
        """Bytes of content gathered so far, before compression; those that are referred to count too."""
        return self._frames.raw_bytes + self._copied_bytes

    def _take(self) -> int:
        lsn = self.lsn_next
        self.lsn_next = lsn + 1
        return lsn

    def dentry(self, at: int, parent: int, name: bytes, file_id: int | None) -> int:
        lsn = self._take()
        self._rows["dentry"].append((lsn, at, parent, name, -1 if file_id is None else file_id))
        return lsn

    def inode(
        self,
        at: int,
        file_id: int | None,
        type: str,
        mode: int,
        uid: int,
        gid: int,
        size: int,
        mtime_ns: int,
        rdev: int = 0,
        target: bytes = b"",
        xattrs: bytes = b"",
    ) -> int:
        """Describe an inode. Without a file_id it is a new one, whose file_id is the LSN returned."""
        lsn = self._take()
        subject = lsn if file_id is None else file_id
        self._rows["inode"].append((lsn, at, subject, ord(type), mode, uid, gid, size, mtime_ns, rdev, target, xattrs))
        return lsn

    def extent(self, at: int, file_id: int, offset: int, data: bytes | bytearray | memoryview) -> int:
        """Bytes of a file, at most FRAME_BYTES of them."""
        lsn = self._take()
        frame, skip = self._frames.add(data)
        self._rows["extent"].append((lsn, at, file_id, offset, len(data), frame, skip))
        return lsn

    def hole(self, at: int, file_id: int, offset: int, length: int) -> int:
        lsn = self._take()
        self._rows["extent"].append((lsn, at, file_id, offset, length, -1, 0))
        return lsn

    def copy(
        self, at: int, file_id: int, offset: int, length: int, from_file: int, from_lsn: int, skip: int, digest: bytes
    ) -> int:
        """Bytes of a file that the stream has already, in its extent `from_lsn` (engine.wire.columns)."""
        lsn = self._take()
        self._copied_bytes += length
        self._rows["copy"].append((lsn, at, file_id, offset, length, from_file, from_lsn, skip, digest))
        return lsn

    def mark(self, at: int, kind: str, label: str = "", point_class: str = "", gap_from: int = 0) -> int:
        lsn = self._take()
        self._rows["mark"].append((lsn, at, kind.encode(), label.encode(), point_class.encode(), gap_from))
        return lsn

    def record(self, at: int, topic: str, payload: str) -> int:
        lsn = self._take()
        self._rows["record"].append((lsn, at, topic.encode(), payload.encode()))
        return lsn

    def settle(self, at: int) -> None:
        """Give every event of the batch this time: only the end of a look says when its changes were there."""
        self._settled_at = at

    def encode(self) -> tuple[list[bytes], bytes]:
        """The batch as buffers to send one after another, and its hash. Call it once, not empty."""
        if not len(self):
            raise ValueError("a batch without events is not sent")
        place = (self.stream, self.epoch, self.lsn_first, self._prev)
        return encode(*place, self._rows, self._frames.frames(), self._settled_at, self._version)


def encode(
    stream: str,
    epoch: int,
    lsn_first: int,
    prev: bytes,
    rows: Mapping[str, Sequence[tuple[Any, ...]]],
    frames: Sequence[Frame],
    at: int | None = None,
    version: int = 1,
) -> tuple[list[bytes], bytes]:
    """A batch as buffers to send one after another, and its hash. `rows` by table, in the order of its columns.

    With `at` that is the time of all events. Copies need version 2.
    """
    raw = b"".join(chain.from_iterable(encode_table(name, rows.get(name, ()), at) for name in TABLES))
    columns = zstandard.ZstdCompressor(level=1).compress(raw)
    header = json.dumps(
        {
            "stream": stream,
            "epoch": epoch,
            "lsn_first": lsn_first,
            "lsn_last": lsn_first + sum(map(len, rows.values())) - 1,
            "prev": prev.hex(),
            "tables": {name: len(rows[name]) for name in TABLES if rows.get(name)},
            "columns": [len(columns), len(raw)],
            "frames": [[len(frame.data), frame.raw_bytes, frame.codec] for frame in frames],
        },
        separators=(",", ":"),
    ).encode()
    if version > 1:
        deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, zdict=HEADER_LIKE)
        header = deflate.compress(header) + deflate.flush()
    elif rows.get("copy"):
        raise ValueError("batches of version 1 have no copies")
    body: list[Any] = [header, columns, *(frame.data for frame in frames)]
    hasher = blake3()
    for part in body:
        hasher.update(part)
    digest = hasher.digest()
    return [_PREFIX.pack(MAGIC, version, len(header), digest), *body], digest[:HASH_BYTES]


def meant(data: bytes | bytearray | memoryview) -> bytes:
    """The digest by which a copy says which bytes it means: BLAKE3, 128 bits. Content addresses want no less."""
    return blake3(data).digest(DIGEST_BYTES)


def hash_of(data: bytes | bytearray | memoryview) -> bytes:
    """The hash that the bytes of a whole batch have, whatever they say themselves."""
    return blake3(memoryview(data)[_PREFIX.size :]).digest()[:HASH_BYTES]


def decode(data: bytes | bytearray | memoryview) -> Batch:
    """Read and check a batch's form. Malformed says what is wrong; contents of frames stay closed."""
    view = memoryview(data)
    if len(view) > BATCH_BYTES_MAX:
        raise Malformed(f"a batch of {len(view)} bytes is larger than {BATCH_BYTES_MAX}")
    if len(view) < _PREFIX.size:
        raise Malformed(f"a batch of {len(view)} bytes is shorter than its prefix of {_PREFIX.size}")
    magic, version, header_bytes, digest = _PREFIX.unpack_from(view)
    if magic != MAGIC or not 1 <= version <= VERSION:
        raise Malformed(f"not a batch of version {VERSION} or before: it begins with {magic!r}, version {version}")
    if header_bytes > min(HEADER_BYTES_MAX, len(view) - _PREFIX.size):
        raise Malformed(f"a batch's header declares {header_bytes} bytes, more than there are or may be")
    if blake3(view[_PREFIX.size :]).digest() != digest:
        raise Malformed("a batch's bytes do not match its hash: it was changed on its way")
    text = bytes(view[_PREFIX.size : _PREFIX.size + header_bytes])
    header = _Header.read(_inflated(text) if version > 1 else text)
    header.check(TABLES if version > 1 else FIRST_TABLES)
    at = _PREFIX.size + header_bytes
    tables = _read_tables(header, view[at : at + header.columns_stored])
    frames = _read_frames(header, view[at + header.columns_stored :])
    batch = Batch(
        header.stream,
        header.epoch,
        header.lsn_first,
        header.lsn_last,
        header.prev,
        digest[:HASH_BYTES],
        tables,
        frames,
    )
    _check_numbers(batch)
    return batch


@dataclass(frozen=True, slots=True)
class _Header:
    stream: str
    epoch: int
    lsn_first: int
    lsn_last: int
    prev: bytes
    rows: dict[str, int]
    columns_stored: int
    columns_raw: int
    frames: list[tuple[int, int, int]]

    @classmethod
    def read(cls, text: bytes) -> _Header:
        try:
            fields = json.loads(text)
            header = cls(
                str(fields["stream"]),
                int(fields["epoch"]),
                int(fields["lsn_first"]),
                int(fields["lsn_last"]),
                bytes.fromhex(fields["prev"]),
                {str(name): int(count) for name, count in fields["tables"].items()},
                int(fields["columns"][0]),
                int(fields["columns"][1]),
                [(int(stored), int(raw), int(codec)) for stored, raw, codec in fields["frames"]],
            )
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
            raise Malformed(f"a batch's header can't be read: {type(error).__name__} {error}") from None
        return header

    def check(self, tables: Collection[str]) -> None:
        count = self.lsn_last - self.lsn_first + 1
        if not 1 <= self.lsn_first <= self.lsn_last < 1 << 62 or not 1 <= self.epoch < 1 << 31:
            raise Malformed(f"events {self.lsn_first} to {self.lsn_last} of epoch {self.epoch} can't be")
        if count > EVENTS_MAX or len(self.frames) > FRAMES_MAX or self.columns_raw > COLUMNS_BYTES_MAX:
            raise Malformed(f"a batch of {count} events in {len(self.frames)} frames is over the limits")
        if set(self.rows) - set(tables) or min(self.rows.values(), default=-1) < 1:
            raise Malformed(f"a batch names tables {sorted(self.rows)}, not all of which can be")
        if sum(self.rows.values()) != count:
            raise Malformed(
                f"a batch has {sum(self.rows.values())} rows for events {self.lsn_first} to {self.lsn_last}"
            )
        if len(self.prev) != HASH_BYTES or min(self.columns_stored, self.columns_raw) < 0:
            raise Malformed("a batch's header holds a hash or a length that can't be")


def _inflated(deflated: bytes) -> bytes:
    """The text of a header of version 2. Malformed if it is none, or too long."""
    inflate = zlib.decompressobj(-zlib.MAX_WBITS, zdict=HEADER_LIKE)
    try:
        text = inflate.decompress(deflated, HEADER_BYTES_MAX)
    except zlib.error as error:
        raise Malformed(f"a batch's header does not inflate: {error}") from None
    if not inflate.eof or inflate.unused_data:
        raise Malformed("a batch's header does not end where its deflated text does")
    return text


def _read_tables(header: _Header, stored: memoryview) -> dict[str, Columns]:
    if len(stored) != header.columns_stored or zstandard.frame_content_size(bytes(stored[:32])) != header.columns_raw:
        raise Malformed(f"a batch's columns are not the {header.columns_stored} bytes that the header declares")
    try:
        raw = memoryview(zstandard.ZstdDecompressor().decompress(stored))
    except zstandard.ZstdError as error:
        raise Malformed(f"a batch's columns do not decompress: {error}") from None
    tables: dict[str, Columns] = {}
    at = 0
    for name in TABLES:
        if name in header.rows:
            tables[name], at = decode_table(name, header.rows[name], raw, at)
    if at != len(raw):
        raise Malformed(f"a batch's columns leave {len(raw) - at} bytes over")
    return tables


def _read_frames(header: _Header, body: memoryview) -> tuple[Frame, ...]:
    frames: list[Frame] = []
    at = 0
    for stored, raw, codec in header.frames:
        if stored < 0 or raw < 0 or at + stored > len(body):
            raise Malformed(f"frame {len(frames)} of {stored} bytes goes beyond the batch's end")
        frames.append(Frame(codec, raw, body[at : at + stored]))
        at += stored
    if at != len(body):
        raise Malformed(f"a batch has {len(body) - at} bytes after its last frame")
    return tuple(frames)


def _check_numbers(batch: Batch) -> None:
    """LSNs without gap or double, extents inside their frames, inodes not from the future."""
    lsns = set(chain.from_iterable(columns["lsn"] for columns in batch.tables.values()))
    count = batch.lsn_last - batch.lsn_first + 1
    if len(lsns) != count or min(lsns) != batch.lsn_first or max(lsns) != batch.lsn_last:
        raise Malformed(f"a batch's events do not count from {batch.lsn_first} to {batch.lsn_last} without gap")
    _check_copies(batch)
    extents = batch.tables.get("extent")
    if extents:
        rows = zip(extents["offset"], extents["length"], extents["frame"], extents["skip"], strict=True)
        for offset, length, frame, skip in rows:
            if offset < 0 or length < 1 or offset + length >= 1 << 63:
                raise Malformed(f"an extent at {offset} of {length} bytes can't be")
            if frame >= len(batch.frames) or frame < -1:
                raise Malformed(f"an extent names frame {frame} of {len(batch.frames)}")
            if frame >= 0 and skip + length > batch.frames[frame].raw_bytes:
                raise Malformed(f"an extent of {length} bytes at {skip} goes beyond its frame {frame}")


def _check_copies(batch: Batch) -> None:
    """Copies of what came before the batch, in amounts that can be read before it is answered."""
    copies = batch.tables.get("copy")
    if not copies:
        return
    if sum(copies["length"]) > COPIED_BYTES_MAX:
        raise Malformed(f"a batch refers to {sum(copies['length'])} bytes, more than {COPIED_BYTES_MAX}")
    names = ("offset", "length", "from_lsn", "skip", "digest")
    for offset, length, from_lsn, skip, digest in zip(*(copies[name] for name in names), strict=True):
        if offset < 0 or not 1 <= length <= FRAME_BYTES_MAX or offset + length >= 1 << 63:
            raise Malformed(f"a copy at {offset} of {length} bytes can't be")
        if skip + length > FRAME_BYTES_MAX or len(digest) != DIGEST_BYTES:
            raise Malformed(f"a copy of {length} bytes from byte {skip} of an extent can't be")
        if from_lsn >= batch.lsn_first:
            raise Malformed(f"a copy names event {from_lsn}, which comes no earlier than its batch")
