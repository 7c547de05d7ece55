"""Batches that no agent of ours would send: changed on their way, cut, and well hashed with contents that can't be."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import zstandard
from blake3 import blake3

from engine.wire.batch import HEADER_LIKE, BatchBuilder
from engine.wire.limits import COLUMNS_BYTES_MAX
from tests.nodes import file_of

PREFIX = struct.Struct("<8sII32s")


def malformed(body: bytes) -> Iterator[tuple[str, bytes]]:
    """Every kind of wrong batch: changed on its way, cut, and well hashed with contents that can't be."""
    yield "empty", b""
    yield "noise", b"BCSBATCH" + bytes(range(200))
    yield "longer", body + b"x"
    for at in range(0, len(body), 11):
        yield f"bit of byte {at}", body[:at] + bytes([body[at] ^ 4]) + body[at + 1 :]
    for length in range(1, len(body), 23):
        yield f"cut at {length}", body[:length]
    header, columns, frames = opened(body)
    for name, value in (
        ("stream", None), ("stream", 1), ("epoch", 0), ("epoch", "x"), ("epoch", 1 << 40), ("lsn_first", 0),
        ("lsn_first", 2), ("lsn_last", 1), ("lsn_last", 1 << 70), ("prev", "zz"), ("prev", "00"), ("prev", None),
        ("tables", {}), ("tables", []), ("tables", {"dentry": -1}), ("tables", {"unknown": 4}), ("columns", []),
        ("columns", [len(columns), COLUMNS_BYTES_MAX + 1]), ("columns", [-1, -1]), ("columns", [len(columns), 5]),
        ("frames", []), ("frames", [[1 << 40, 1, 1]]), ("frames", [[-1, 1, 1]]), ("frames", [[len(frames), 10, 1]]),
        ("frames", [[len(frames), len(frames), 7]]), ("frames", None),
    ):  # fmt: skip
        yield f"{name} {value}", closed({**header, name: value}, columns, frames)
    yield "no header", closed([], columns, frames)
    yield "deep header", closed_raw(b"[" * 50_000, columns, frames)
    bomb = zstandard.ZstdCompressor().compress(bytes(COLUMNS_BYTES_MAX))
    yield "columns that are a bomb", closed({**header, "columns": [len(bomb), COLUMNS_BYTES_MAX]}, bomb, frames)
    packed = zstandard.ZstdCompressor().compress(bytes(100 << 20))
    for declared in (160, 100 << 20):
        yield (
            f"frame that is a bomb of {declared}",
            closed({**header, "frames": [[len(packed), declared, 1]]}, columns, packed),
        )
    text = json.dumps(header).encode()
    yield "a header that is not deflated", closed_raw(text, columns, frames, 2)
    yield "a header that is a bomb", closed_raw(deflated(bytes(100 << 20)), columns, frames, 2)
    yield "a header with something behind it", closed_raw(deflated(text) + b"x", columns, frames, 2)
    yield "a header without its end", closed_raw(deflated(text)[:-2], columns, frames, 2)
    yield "another version", closed_raw(deflated(text), columns, frames, 3)
    for name in (b"", b".", b"..", b"a/b", b"a\0b"):
        yield f"name {name!r}", rebuilt(header, file_of(b"x", name))
    yield "a type that is none", rebuilt(header, lambda b: b.inode(1, None, "Z", 0o644, 0, 0, 0, 0))
    yield "a negative size", rebuilt(header, lambda b: b.inode(1, None, "f", 0o644, 0, 0, -1, 0))
    yield "a file from the future", rebuilt(header, lambda b: b.dentry(1, 0, b"x", 1 << 40))
    yield "a hole at -1", rebuilt(header, lambda b: b.hole(1, 1, -1, 5))


def rebuilt(header: dict[str, Any], fill: Callable[[BatchBuilder], Any]) -> bytes:
    builder = BatchBuilder(header["stream"], header["epoch"], header["lsn_first"], bytes.fromhex(header["prev"]))
    fill(builder)
    return b"".join(builder.encode()[0])


def opened(body: bytes) -> tuple[dict[str, Any], bytes, bytes]:
    """(header, columns, frames) of a batch of either version."""
    _, version, size, _ = PREFIX.unpack_from(body)
    text = body[PREFIX.size : PREFIX.size + size]
    if version > 1:
        text = zlib.decompressobj(-zlib.MAX_WBITS, zdict=HEADER_LIKE).decompress(text)
    header, at = json.loads(text), PREFIX.size + size
    return header, body[at : at + header["columns"][0]], body[at + header["columns"][0] :]


def deflated(text: bytes) -> bytes:
    """A header's text as version 2 has it."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, zdict=HEADER_LIKE)
    return deflate.compress(text) + deflate.flush()


def closed(header: Any, columns: bytes, frames: bytes) -> bytes:
    return closed_raw(json.dumps(header).encode(), columns, frames)


def closed_raw(header: bytes, columns: bytes, frames: bytes, version: int = 1) -> bytes:
    rest = header + columns + frames
    return PREFIX.pack(b"BCSBATCH", version, len(header), blake3(rest).digest()) + rest
