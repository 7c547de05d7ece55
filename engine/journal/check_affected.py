"""Which paths, and which times of them, lost frames affect. A plain fold over names and extents of what they touch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from engine.format import parquet
from engine.format.footer import Footer
from engine.format.names import Segment
from engine.journal.epochs import Stream
from engine.journal.findings import Affected
from engine.journal.open import Journal
from engine.model.events import DENTRY, EXTENT, ROOT_ID

_COLUMNS = ["stream", "epoch", "lsn", "at", "kind", "subject", "name", "file_id", "offset", "length"]
_COLUMNS += ["pack", "frame", "frame_bytes"]


@dataclass(frozen=True, slots=True)
class LostFrames:
    """The lost frames of a pack: those at these `offsets`; without them all that end behind `intact_bytes`."""

    offsets: frozenset[int] | None = None
    intact_bytes: int = 0


@dataclass(frozen=True, slots=True, order=True)
class _Lost:
    """An extent whose bytes are lost, and until when they were what the file held; None: they still are."""

    file_id: int
    from_at: int
    to_at: int | None


@dataclass(frozen=True, slots=True)
class _Name:
    """`parent`/`name` led to a file from `from_at` until `to_at`."""

    parent: int
    name: bytes
    from_at: int
    to_at: int | None


def affected_paths(
    journal: Journal,
    trusted: Sequence[tuple[Segment, Footer]],
    streams: Mapping[str, Stream],
    lost: Mapping[str, LostFrames],
) -> dict[str, list[Affected]]:
    """What the lost frames of each pack affect, by pack. Reads every segment once, and no pack."""
    if not lost:
        return {}
    tables = [parquet.read_rows(journal.files.path(segment.key), segment.key, _COLUMNS) for segment, footer in trusted]
    rows = pa.concat_tables(tables) if tables else None
    found: dict[str, list[Affected]] = {}
    for pack, frames in lost.items():
        if rows is None:
            break
        hit = _hit(rows.filter(pc.equal(rows.column("pack"), pack)), frames)
        found[pack] = sorted(
            affected
            for stream in pc.unique(hit.column("stream")).to_pylist()
            for affected in _in_stream(stream, rows, hit, streams)
        )
    return found


def _hit(rows: pa.Table, lost: LostFrames) -> pa.Table:
    """The extents among `rows`, which are of one pack, that lie in lost frames."""
    if lost.offsets is not None:
        return rows.filter(pc.is_in(rows.column("frame"), value_set=pa.array(sorted(lost.offsets), pa.int64())))
    ends = pc.add(rows.column("frame"), rows.column("frame_bytes"))
    return rows.filter(pc.greater(ends, lost.intact_bytes))


def _in_stream(stream: str, rows: pa.Table, hit: pa.Table, streams: Mapping[str, Stream]) -> Iterator[Affected]:
    own = rows.filter(pc.equal(rows.column("stream"), stream))
    lost = _lost_extents(own, hit.filter(pc.equal(hit.column("stream"), stream)))
    names = _names(own)
    address = str(streams[stream].address) if stream in streams else stream
    spans: dict[str, tuple[int, int | None]] = {}
    for extent in lost:
        for path, from_at, to_at in _paths(extent, names):
            known = spans.get(path, (from_at, to_at))
            ends = (known[1], to_at)
            end = None if None in ends else max(each for each in ends if each is not None)
            spans[path] = (min(known[0], from_at), end)
    for path, (from_at, to_at) in spans.items():
        yield Affected(address, path, from_at, to_at)


def _lost_extents(own: pa.Table, hit: pa.Table) -> Iterator[_Lost]:
    """The hit extents with the time at which later ones had covered the last byte of each."""
    files = pa.array(pc.unique(hit.column("subject")).to_pylist(), pa.uint64())
    extents = own.filter(pc.equal(own.column("kind"), EXTENT))
    extents = extents.filter(pc.is_in(extents.column("subject"), value_set=files))
    keys = ("subject", "epoch", "lsn", "at", "offset", "length")
    by_file: dict[int, list[tuple[int, int, int, int, int]]] = {}
    for file_id, *rest in zip(*(extents.column(key).to_pylist() for key in keys), strict=True):
        by_file.setdefault(file_id, []).append(tuple(rest))
    for each in by_file.values():
        each.sort(key=lambda row: (row[1], row[0]))
    for file_id, *row in zip(*(hit.column(key).to_pylist() for key in keys), strict=True):
        epoch, lsn, at, offset, length = row
        later = [each for each in by_file[file_id] if (each[1], each[0]) > (lsn, epoch)]
        yield _Lost(file_id, at, _covered_at(offset, offset + length, later))


def _covered_at(start: int, end: int, later: Sequence[tuple[int, int, int, int, int]]) -> int | None:
    left = [(start, end)]
    for _, _, at, offset, length in later:
        cut = (offset, offset + length)
        left = [piece for a, b in left for piece in ((a, min(b, cut[0])), (max(a, cut[1]), b)) if piece[0] < piece[1]]
        if not left:
            return at
    return None


def _names(own: pa.Table) -> dict[int, list[_Name]]:
    """All names that each file ever had, in the order of their LSNs."""
    dentries = own.filter(pc.equal(own.column("kind"), DENTRY)).sort_by([("lsn", "ascending"), ("epoch", "ascending")])
    keys = ("subject", "name", "file_id", "at")
    current: dict[tuple[int, bytes], tuple[int | None, int]] = {}
    names: dict[int, list[_Name]] = {}
    for parent, name, file_id, at in zip(*(dentries.column(key).to_pylist() for key in keys), strict=True):
        _end(names, current, parent, name, at)
        current[parent, name] = (file_id, at)
    for parent, name in current:
        _end(names, current, parent, name, None)
    return names


def _end(
    names: dict[int, list[_Name]],
    current: Mapping[tuple[int, bytes], tuple[int | None, int]],
    parent: int,
    name: bytes,
    at: int | None,
) -> None:
    """What a name led to until now goes to the list of that file."""
    file_id, from_at = current.get((parent, name), (None, 0))
    if file_id is not None:
        names.setdefault(file_id, []).append(_Name(parent, name, from_at, at))


def _paths(extent: _Lost, names: Mapping[int, Sequence[_Name]]) -> Iterator[tuple[str, int, int | None]]:
    """The paths under which the lost bytes were to be read, each with its time."""
    for name in names.get(extent.file_id, ()):
        from_at = max(extent.from_at, name.from_at)
        ends = [at for at in (extent.to_at, name.to_at) if at is not None]
        to_at = min(ends) if ends else None
        if to_at is None or from_at < to_at:
            yield _path(name, from_at, names), from_at, to_at


def _path(name: _Name, at: int, names: Mapping[int, Sequence[_Name]]) -> str:
    """The absolute path of a name at a time."""
    parts = [name.name]
    seen = {name.parent}
    parent = name.parent
    while parent != ROOT_ID and names.get(parent):
        above = [each for each in names[parent] if each.from_at <= at and (each.to_at is None or at < each.to_at)]
        found = (above or names[parent])[-1]
        parts.append(found.name)
        parent = found.parent
        if parent in seen:
            break
        seen.add(parent)
    return os.fsdecode(b"/" + b"/".join(reversed(parts)))
