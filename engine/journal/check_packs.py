"""Checking packs: all are there in full; with their data read, each byte is what was written and each extent opens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from engine.env.randomness import token_bytes
from engine.format import hashes, names, parquet
from engine.format.footer import Footer, Pack
from engine.format.names import Segment
from engine.format.sealing import HEADER_BYTES, PackOpener, read_header
from engine.journal.check_affected import LostFrames
from engine.journal.epochs import Stream
from engine.journal.findings import CHANGED, HASH_MISMATCH, MISSING, ORPHAN, SWAPPED, TRUNCATED, UNREADABLE, CheckError
from engine.journal.open import Journal
from engine.journal.segments import Hole
from engine.model.errors import Damaged
from engine.store.base import Missing

Progress = Callable[[int, int], None]
"""Called with (bytes read, bytes to read)."""

_COLUMNS = ("stream", "pack", "frame", "frame_bytes", "skip", "length", "hash")


@dataclass(frozen=True, slots=True)
class BadPack:
    """A pack's fault, and which of its frames are lost with it."""

    error: CheckError
    lost: LostFrames


def check_sizes(
    sizes: Mapping[str, int], trusted: Sequence[tuple[Segment, Footer]], holes: Sequence[Hole]
) -> tuple[list[BadPack], list[CheckError]]:
    """Packs that are not there, or not as long as they were; and those without a commit. `sizes` is the listing."""
    bad: list[BadPack] = []
    owned: set[str] = set()
    for _, footer in trusted:
        for pack in footer.packs:
            owned.add(pack.key)
            fault = _size_fault(pack, sizes.get(pack.key))
            if fault is not None:
                bad.append(fault)
    return bad, [note for key in sizes if (note := _orphan(key, owned, holes)) is not None]


def read_packs(
    journal: Journal,
    trusted: Sequence[tuple[Segment, Footer]],
    streams: Mapping[str, Stream],
    skip: set[str],
    sample: float | None,
    progress: Progress,
) -> Iterator[BadPack]:
    """Read packs whole and compare: their hash, each frame, each extent. `skip` are keys known to be bad.

    `sample` is the share of the packs to read, chosen anew each time; None for all.
    """
    chosen = _sampled([pack for _, footer in trusted for pack in footer.packs if pack.key not in skip], sample)
    by_hash = {pack.hash: pack.key for _, footer in trusted for pack in footer.packs}
    total = sum(pack.bytes for pack in chosen.values())
    group_keys = _group_keys(journal, streams)
    done = 0
    for segment, footer in trusted:
        packs = [pack for pack in footer.packs if pack.key in chosen]
        extents = _extents(journal, segment) if packs else None
        for pack in packs:
            rows = extents.filter(pc.equal(extents.column("pack"), pack.key))  # type: ignore[union-attr]
            fault = _read_pack(journal, pack, rows, group_keys, by_hash)
            if fault is not None:
                yield fault
            done += pack.bytes
            progress(done, total)


def _size_fault(pack: Pack, size: int | None) -> BadPack | None:
    if size is None:
        return BadPack(CheckError(pack.key, MISSING, f"a pack of {pack.bytes} bytes"), LostFrames())
    if size == pack.bytes:
        return None
    kind = TRUNCATED if size < pack.bytes else CHANGED
    detail = f"it has {size} bytes, {pack.bytes} were written"
    return BadPack(CheckError(pack.key, kind, detail), LostFrames(intact_bytes=min(size, pack.bytes)))


def _orphan(key: str, owned: set[str], holes: Sequence[Hole]) -> CheckError | None:
    """A pack that no commit names and whose commit is not known to be lost."""
    place = names.parse_pack(key)
    if place is None or key in owned:
        return None
    node, boot, seq = place
    lost = any((hole.boot, hole.node) == (boot, node) and hole.seq_first <= seq <= hole.seq_last for hole in holes)
    return None if lost else CheckError(key, ORPHAN, "a pack without a commit, as a crash or a full store leaves it")


def _sampled(packs: Sequence[Pack], sample: float | None) -> dict[str, Pack]:
    if sample is None or sample >= 1 or not packs:
        return {pack.key: pack for pack in packs}
    count = max(1, round(len(packs) * sample))
    order = sorted(packs, key=lambda pack: token_bytes(8))
    return {pack.key: pack for pack in order[:count]}


def _extents(journal: Journal, segment: Segment) -> pa.Table:
    """The extents with data of a segment, by pack and frame."""
    rows = parquet.read_rows(journal.files.path(segment.key), segment.key, _COLUMNS)
    return rows.filter(pc.is_valid(rows.column("pack"))).sort_by([("pack", "ascending"), ("frame", "ascending")])


def _read_pack(
    journal: Journal, pack: Pack, rows: pa.Table, group_keys: Mapping[str, bytes], by_hash: Mapping[str, str]
) -> BadPack | None:
    try:
        content = journal.store.get(pack.key)
    except Missing:
        return BadPack(CheckError(pack.key, MISSING, f"a pack of {pack.bytes} bytes"), LostFrames())
    except (OSError, Damaged) as error:
        return BadPack(CheckError(pack.key, UNREADABLE, str(error)), LostFrames())
    actual = names.content_hash(content)
    bad = _bad_frames(journal, pack.key, memoryview(content), rows, group_keys)
    if actual == pack.hash and not bad:
        return None
    if actual == pack.hash:
        detail = f"{len(bad)} frames do not open to what their extents' hashes say"
        return BadPack(CheckError(pack.key, HASH_MISMATCH, detail), LostFrames(frozenset(bad)))
    other = by_hash.get(actual)
    if other is not None:
        return BadPack(CheckError(pack.key, SWAPPED, f"it holds the content of {other}"), LostFrames(frozenset(bad)))
    if len(content) < pack.bytes:
        detail = f"it has {len(content)} bytes, {pack.bytes} were written"
        return BadPack(CheckError(pack.key, TRUNCATED, detail), LostFrames(frozenset(bad)))
    detail = f"its content has the hash {actual}, not {pack.hash}; {len(bad)} frames are lost"
    return BadPack(CheckError(pack.key, CHANGED, detail), LostFrames(frozenset(bad)))


def _bad_frames(
    journal: Journal, key: str, content: memoryview, rows: pa.Table, group_keys: Mapping[str, bytes]
) -> set[int]:
    """The offsets of frames that do not open, or whose extents do not match their hashes."""
    columns = [rows.column(name).to_pylist() for name in _COLUMNS if name != "pack"]
    try:
        number, _ = read_header(key, bytes(content[:HEADER_BYTES]))
        opener = PackOpener(key, bytes(content[:HEADER_BYTES]), journal.keyring.site_key(number))
    except (Damaged, Missing):
        return set(columns[1])
    bad: set[int] = set()
    at, raw = -1, memoryview(b"")
    for stream, frame, frame_bytes, skip, length, digest in zip(*columns, strict=True):
        if frame in bad:
            continue
        try:
            if frame != at:
                raw, at = opener.open(frame, content[frame : frame + frame_bytes]), frame
        except Damaged:
            bad.add(frame)
            continue
        group_key = group_keys.get(stream)
        if group_key is not None and hashes.extent_hash(raw[skip : skip + length], group_key) != digest:
            bad.add(frame)
    return bad


def _group_keys(journal: Journal, streams: Mapping[str, Stream]) -> dict[str, bytes]:
    """The key of each stream's hashes; left out where it can't be had, which is a fault of its own."""
    found: dict[str, bytes] = {}
    for stream in streams.values():
        with suppress(Damaged, Missing):
            found[stream.id] = journal.keyring.group_key(stream.group)
    return found
