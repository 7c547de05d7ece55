"""Reading content: frames opened from packs, each extent compared with its hash before a byte of it is given out."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from engine.format import hashes
from engine.format.sealing import HEADER_BYTES, PackOpener, frame_damaged, read_header
from engine.journal import epochs
from engine.journal.open import Journal
from engine.model.errors import Damaged
from engine.model.events import DataRef
from engine.model.extents import Piece
from engine.store.base import Missing
from engine.wire.frames import Frame

CACHE_BYTES = 64 << 20
LARGE_BYTES = 128 << 10
"""An extent of so many bytes has its frame to itself, or nearly."""
_PACKS_MAX = 1024


@dataclass(slots=True)
class _Opened:
    """A frame's raw bytes, and the extents of it that matched their hashes: (skip, length, hash, group)."""

    raw: memoryview
    checked: set[tuple[int, int, bytes, str]] = field(default_factory=set)


class DataReader:
    """Reads pieces of files, of any streams. Safe to use from several threads; keeps the frames used last.

    `before_opening` is called before a frame is read that is not kept.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        cache_bytes: int = CACHE_BYTES,
        before_opening: Callable[[], None] = lambda: None,
    ) -> None:
        self._journal = journal
        self._cache_bytes = cache_bytes
        self._before_opening = before_opening
        self._cached_bytes = 0
        self._frames: OrderedDict[tuple[str, int], _Opened] = OrderedDict()
        self._packs: OrderedDict[str, PackOpener] = OrderedDict()
        self._groups: dict[str, str] = {}
        self._keys: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def read(self, piece: Piece, stream: str) -> memoryview:
        """The bytes of a piece of a file of `stream`: `piece.length` of them, or ValueError for a hole.

        Raises Damaged, naming pack and frame, unless the whole extent is what was protected.
        """
        if piece.data is None:
            raise ValueError(f"the piece at {piece.offset} is a hole and has no data")
        extent = self.read_extent(piece.data, piece.extent_length, piece.hash, stream)
        return extent[piece.skip : piece.skip + piece.length]

    def read_once(self, piece: Piece, stream: str) -> memoryview:
        """As `read`, for who reads each piece once: of a large extent that is read whole nothing is kept."""
        data = piece.data
        if data is None or piece.length != piece.extent_length:
            return self.read(piece, stream)
        large = piece.length >= LARGE_BYTES
        raw = self._open(data.pack, data.frame, data.frame_bytes) if large else self._frame(data).raw
        return self.checked(raw, data, piece.extent_length, piece.hash, stream)

    def read_extent(self, data: DataRef, length: int, digest: bytes, stream: str) -> memoryview:
        """The bytes of a whole extent of `length` bytes whose hash is `digest`. Raises Damaged as `read` does."""
        group = self._group(stream)
        opened = self._frame(data)
        check = (data.skip, length, digest, group)
        if check in opened.checked:
            return opened.raw[data.skip : data.skip + length]
        part = self.checked(opened.raw, data, length, digest, stream)
        opened.checked.add(check)
        return part

    def checked(self, raw: memoryview, data: DataRef, length: int, digest: bytes, stream: str) -> memoryview:
        """An extent's bytes in the raw bytes of its frame. Damaged unless they are those whose hash is `digest`."""
        part = raw[data.skip : data.skip + length]
        if len(part) != length:
            raise frame_damaged(data.pack, data.frame, f"it ends before byte {data.skip + length}")
        if hashes.extent_hash(part, self._key(stream)) != digest:
            raise frame_damaged(data.pack, data.frame, f"the {length} bytes at {data.skip} do not match their hash")
        return part

    def matches(self, found: bytes, piece: Piece, stream: str) -> bool:
        """Whether these are the bytes of a piece: by the hash of its extent where the piece is all of it, which needs
        no pack; else compared with them. Raises Damaged as `read` does."""
        if piece.skip == 0 and piece.length == piece.extent_length:
            return len(found) == piece.length and hashes.extent_hash(found, self._key(stream)) == piece.hash
        return found == self.read(piece, stream)

    def read_frame(self, pack: str, frame: int, frame_bytes: int) -> memoryview:
        """The raw bytes of one frame. Raises Damaged."""
        return self._open(pack, frame, frame_bytes)

    def unsealed(self, pack: str, frame: int, frame_bytes: int) -> tuple[Frame, memoryview]:
        """One frame as its agent compressed it, and its raw bytes. Nothing is kept of it. Raises Damaged."""
        opener = self._pack(pack)
        found = opener.unseal(frame, self._sealed(pack, frame, frame_bytes))
        return found, opener.opened(frame, found)

    def _group(self, stream: str) -> str:
        group = self._groups.get(stream)
        if group is None:
            group = self._groups[stream] = epochs.read_stream(self._journal.store, stream).group
        return group

    def _key(self, stream: str) -> bytes:
        key = self._keys.get(stream)
        if key is None:
            key = self._keys[stream] = self._journal.keyring.group_key(self._group(stream))
        return key

    def _frame(self, data: DataRef) -> _Opened:
        key = (data.pack, data.frame)
        with self._lock:
            known = self._frames.get(key)
            if known is not None:
                self._frames.move_to_end(key)
                return known
        self._before_opening()
        opened = _Opened(self._open(data.pack, data.frame, data.frame_bytes))
        with self._lock:
            if key not in self._frames:
                self._frames[key] = opened
                self._cached_bytes += len(opened.raw)
                while self._cached_bytes > self._cache_bytes and len(self._frames) > 1:
                    _, old = self._frames.popitem(last=False)
                    self._cached_bytes -= len(old.raw)
            return self._frames.get(key, opened)

    def _open(self, pack: str, frame: int, frame_bytes: int) -> memoryview:
        return self._pack(pack).open(frame, self._sealed(pack, frame, frame_bytes))

    def _sealed(self, pack: str, frame: int, frame_bytes: int) -> bytes:
        try:
            return self._journal.store.get_range(pack, frame, frame_bytes)
        except Missing:
            raise _pack_missing(pack) from None

    def _pack(self, pack: str) -> PackOpener:
        with self._lock:
            known = self._packs.get(pack)
            if known is not None:
                self._packs.move_to_end(pack)
                return known
        try:
            header = self._journal.store.get_range(pack, 0, HEADER_BYTES)
        except Missing:
            raise _pack_missing(pack) from None
        number, _ = read_header(pack, header)
        try:
            data_key = self._journal.keyring.site_key(number)
        except Missing:
            raise Damaged(
                f"pack {pack} names data key {number}, which does not exist",
                hint="run `bcsctl check --read-data` to see what it affects",
                details={"object": pack},
            ) from None
        opener = PackOpener(pack, header, data_key)
        with self._lock:
            self._packs[pack] = opener
            while len(self._packs) > _PACKS_MAX:
                self._packs.popitem(last=False)
        return opener


def _pack_missing(pack: str) -> Damaged:
    return Damaged(
        f"pack {pack} is missing",
        hint="run `bcsctl check` to see what it affects; a replica may still have it",
        details={"object": pack},
    )
