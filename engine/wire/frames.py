"""Frames: up to 256 KiB of extents' bytes, compressed together.

Small files share a frame, so they compress as well as one large file does. Compression runs
on threads (zstandard and the kernel both leave the interpreter free) while the caller reads on.
"""

from __future__ import annotations

import threading
from concurrent.futures import Executor, Future
from dataclasses import dataclass

import zstandard

from engine.wire.errors import Malformed
from engine.wire.limits import FRAME_BYTES, FRAME_BYTES_MAX

RAW, ZSTD = 0, 1
LEVEL = 1
"""zstd's level: above 1 our data gains under 1 % in size per doubling of the time."""

_PROBE_BYTES = 4096
_PROBE_FROM_BYTES = 32768
_local = threading.local()


@dataclass(frozen=True, slots=True)
class Frame:
    """`data` as it travels: `raw_bytes` long once opened with `codec` (RAW or ZSTD)."""

    codec: int
    raw_bytes: int
    data: bytes | bytearray | memoryview


def compress(raw: bytes | bytearray | memoryview) -> Frame:
    """Close a frame. Data that two probes find incompressible is kept as it is."""
    compressor = getattr(_local, "compressor", None)
    if compressor is None:
        compressor = _local.compressor = zstandard.ZstdCompressor(level=LEVEL)
    size = len(raw)
    view = memoryview(raw)
    if size >= _PROBE_FROM_BYTES and all(
        len(compressor.compress(view[at : at + _PROBE_BYTES])) > _PROBE_BYTES * 0.95 for at in (0, size // 2)
    ):
        return Frame(RAW, size, raw)
    packed = compressor.compress(view)
    return Frame(ZSTD, size, packed) if len(packed) < size else Frame(RAW, size, raw)


def open_frame(frame: Frame) -> memoryview:
    """The raw bytes of a frame. Malformed when it does not open to exactly what it declares."""
    if frame.raw_bytes > FRAME_BYTES_MAX:
        raise Malformed(f"a frame declares {frame.raw_bytes} bytes, more than {FRAME_BYTES_MAX}")
    if frame.codec == RAW:
        raw = memoryview(frame.data)
    elif frame.codec == ZSTD:
        decompressor = getattr(_local, "decompressor", None)
        if decompressor is None:
            decompressor = _local.decompressor = zstandard.ZstdDecompressor()
        if zstandard.frame_content_size(frame.data) != frame.raw_bytes:
            raise Malformed(f"a frame does not hold the {frame.raw_bytes} bytes that it declares")
        try:
            raw = memoryview(decompressor.decompress(frame.data))
        except zstandard.ZstdError as error:
            raise Malformed(f"a frame does not decompress: {error}") from None
    else:
        raise Malformed(f"a frame has the unknown codec {frame.codec}")
    if len(raw) != frame.raw_bytes:
        raise Malformed(f"a frame holds {len(raw)} bytes and declares {frame.raw_bytes}")
    return raw


class FrameFiller:
    """Gathers extents' bytes into frames, which an executor compresses.

    `add` answers (frame index, skip). No extent is longer than FRAME_BYTES.
    """

    def __init__(self, executor: Executor | None = None) -> None:
        self._executor = executor
        self._closed: list[Frame | Future[Frame]] = []
        self._open = bytearray()
        self.raw_bytes = 0

    def add(self, data: bytes | bytearray | memoryview) -> tuple[int, int]:
        size = len(data)
        if size > FRAME_BYTES:
            raise ValueError(f"an extent of {size} bytes is longer than {FRAME_BYTES}")
        if len(self._open) + size > FRAME_BYTES and self._open:
            self._close()
        place = (len(self._closed), len(self._open))
        self._open += data
        self.raw_bytes += size
        return place

    def _close(self) -> None:
        raw, self._open = self._open, bytearray()
        self._closed.append(self._executor.submit(compress, raw) if self._executor else compress(raw))

    def frames(self) -> list[Frame]:
        """All frames so far, compressed; the last one is closed, and compressed here: who waits may as well do it."""
        if self._open:
            raw, self._open = self._open, bytearray()
            self._closed.append(compress(raw))
        return [frame.result() if isinstance(frame, Future) else frame for frame in self._closed]
