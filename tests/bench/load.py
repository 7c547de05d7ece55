"""What a simulated busy agent writes: batches as real agents build them, and what must be read back afterwards.

Content is drawn from frames that were made and compressed beforehand, so that the load generators leave the machine to
the node. Nothing here is timed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any

from engine.wire.batch import NO_HASH, BatchBuilder
from engine.wire.frames import Frame, compress
from engine.wire.limits import FRAME_BYTES

PIECES = 24
"""How many different frames of each sort there are."""

SLOTS = 256
"""Extents of FRAME_BYTES in the file of one who writes data; it is written around and around."""


@dataclass(frozen=True, slots=True)
class Load:
    """One busy agent. `kind` is "small" (many small files), "random" or "text" (data of one large file).

    `size` is the number of events of a batch for small, of frames for the others; `every_seconds` the time between two
    batches, 0 for each as soon as the one before is acknowledged.
    """

    host: str
    address: str
    kind: str
    size: int
    every_seconds: float = 0.0


class Pieces:
    """Frames of one sort, compressed once: `raw` bytes and the frame of each."""

    def __init__(self, kind: str, seed: int = 2006) -> None:
        source = random.Random(f"{kind} {seed}")
        words = [source.randbytes(source.randrange(2, 9)).hex() for _ in range(4000)]
        make = {"random": lambda: source.randbytes(FRAME_BYTES), "text": lambda: _text(source, words)}[kind]
        self.raw: list[bytes] = [make() for _ in range(PIECES)]
        self.frames: list[Frame] = [compress(raw) for raw in self.raw]


def _text(source: random.Random, words: Sequence[str]) -> bytes:
    return " ".join(source.choices(words, k=FRAME_BYTES // 3)).encode()[:FRAME_BYTES]


class _Ready(Executor):
    """Compresses nothing: hands out the frames that it was given, in order."""

    def __init__(self, frames: Sequence[Frame]) -> None:
        self._frames = iter(frames)

    def submit(self, *_: Any, **__: Any) -> Future[Frame]:  # type: ignore[override]
        done: Future[Frame] = Future()
        done.set_result(next(self._frames))
        return done


@dataclass(slots=True)
class Content:
    """One simulated source: `next_batch` changes it, `files` is what it holds then."""

    load: Load
    stream: str
    pieces: Pieces | None
    clock: Callable[[], int]
    epoch: int = 1
    lsn: int = 0
    prev: bytes = NO_HASH
    _ids: dict[bytes, int] = field(default_factory=dict)
    _small: dict[bytes, bytes] = field(default_factory=dict)
    _slots: list[int] = field(default_factory=list)
    _turn: int = 0

    def next_batch(self) -> tuple[list[bytes], int]:
        """The buffers of the next batch, and its number of events."""
        fill = self._fill_small if self.load.kind == "small" else self._fill_data
        builder = fill()
        builder.settle(self.clock())
        buffers, self.prev = builder.encode()
        self.lsn = builder.lsn_next - 1
        return buffers, len(builder)

    def files(self) -> dict[bytes, bytes]:
        """{path: content} after all batches so far."""
        if self.pieces is None:
            return {b"/" + name: content for name, content in self._small.items()}
        return {b"/data": b"".join(self.pieces.raw[piece] for piece in self._slots)}

    def _builder(self, frames: Sequence[Frame] | None = None) -> BatchBuilder:
        executor = None if frames is None else _Ready(frames)
        return BatchBuilder(self.stream, self.epoch, self.lsn + 1, self.prev, executor)

    def _fill_small(self) -> BatchBuilder:
        """Small files written again: an inode and an extent each, a mark at the end."""
        builder = self._builder()
        for number in range(self.load.size // 2):
            name = b"%04d" % number
            self._turn += 1
            content = b"%s was written in turn %d, " % (name, self._turn) * 4
            self._small[name] = content
            self._describe(builder, name, len(content))
            builder.extent(0, self._ids[name], 0, content)
        builder.mark(0, "pass", point_class="quiet")
        return builder

    def _fill_data(self) -> BatchBuilder:
        """The next frames of the large file, behind those before, from the beginning again at its end."""
        assert self.pieces is not None
        chosen = [(self._turn + number) * 7 % PIECES for number in range(self.load.size)]
        builder = self._builder([self.pieces.frames[piece] for piece in chosen])
        slots = [(self._turn + number) % SLOTS for number in range(self.load.size)]
        for slot, piece in zip(slots, chosen, strict=True):
            self._slots[slot : slot + 1] = [piece]
        self._turn += self.load.size
        self._describe(builder, b"data", len(self._slots) * FRAME_BYTES)
        for slot, piece in zip(slots, chosen, strict=True):
            builder.extent(0, self._ids[b"data"], slot * FRAME_BYTES, self.pieces.raw[piece])
        builder.mark(0, "pass", point_class="quiet")
        return builder

    def _describe(self, builder: BatchBuilder, name: bytes, size: int) -> None:
        known = self._ids.get(name)
        file_id = builder.inode(0, known, "f", 0o644, 1000, 1000, size, self._turn)
        if known is None:
            self._ids[name] = file_id
            builder.dentry(0, 0, name, file_id)
