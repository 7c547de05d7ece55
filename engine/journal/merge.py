"""Merging: many small segments become few larger ones, and what they stand for goes after a grace period.

Commits that follow one another in a boot are merged into a segment of generation 1, eight or more of one generation
into one of the next. A step is one put: killed before it, nothing has happened; after it, the merged segment counts
and its sources are only left over. Sources are deleted much later, by whoever finds them, and only while a merged
segment that was read and found whole covers them. So a merge may be repeated, by several at once, at any time.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from engine.env.clock import Clock
from engine.format import names, parquet, tables
from engine.format.footer import Footer, StreamFooter, join_runs
from engine.format.names import Segment
from engine.journal import segments, watermarks
from engine.journal.heads import last_of
from engine.journal.open import Journal
from engine.model.errors import Damaged
from engine.model.events import BASELINE, MARK, PASS
from engine.store.base import AlreadyThere, Missing


@dataclass(frozen=True, slots=True)
class Rules:
    """When to merge, and how much at once.

    Commits: once there are `commits_min` in a row, or two of which the first is older than `age_seconds`. Merged
    segments of one generation: once there are `segments_min` in a row. A merged segment has at most `rows_max` rows,
    which bounds the memory that a merge takes (about 600 bytes a row). Sources stay for `grace_seconds` more.
    """

    commits_min: int = 64
    age_seconds: float = 30.0
    segments_min: int = 8
    rows_max: int = 250_000
    grace_seconds: float = 60.0


RULES = Rules()
_SWEEP_MAX = 100


@dataclass(slots=True)
class Merged:
    """What one round did: keys put, keys deleted, and the damaged objects that could not be merged."""

    written: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    damaged: list[Damaged] = field(default_factory=list)


def merge_due(journal: Journal, clock: Clock, rules: Rules = RULES) -> Merged:
    """Merge what is due, and delete the sources of earlier merges whose time has come."""
    result = Merged()
    for run in due(journal, clock.now(), rules):
        for group in _groups(journal, run, rules, result):
            result.written.append(_merge(journal, group, clock.now()))
    result.deleted.extend(sweep(journal, clock, rules.grace_seconds))
    return result


def due(journal: Journal, now: int, rules: Rules = RULES) -> list[list[Segment]]:
    """The runs of segments that are to be merged: of one boot and generation, each continuing the one before."""
    return [run for run in runs(segments.visible(journal.store).segments) if _is_due(journal, run, now, rules)]


def runs(visible: Iterable[Segment]) -> list[list[Segment]]:
    """Segments of one boot and generation that follow one another without a hole, in order. Pure."""
    found: list[list[Segment]] = []
    for segment in visible:
        last = found[-1][-1] if found else None
        if (
            last is not None
            and (last.boot, last.node, last.generation) == (segment.boot, segment.node, segment.generation)
            and last.seq_last + 1 == segment.seq_first
        ):
            found[-1].append(segment)
        else:
            found.append([segment])
    return found


def merge(journal: Journal, group: Sequence[Segment], now: int) -> str:
    """One segment of the rows of several that follow one another; its key. Raises Damaged, Missing."""
    return _merge(journal, [_read(journal, segment) for segment in group], now)


@dataclass(frozen=True, slots=True)
class _Source:
    """A segment to be merged, as it was read."""

    segment: Segment
    footer: Footer
    rows: pa.Table


def _read(journal: Journal, segment: Segment) -> _Source:
    return _Source(segment, *segments.read(journal, segment.key))


def _merge(journal: Journal, group: Sequence[_Source], now: int) -> str:
    first, last = group[0].segment, group[-1].segment
    found = [source.footer for source in group]
    rows = pa.concat_tables([source.rows for source in group])
    footer = Footer(
        first.node,
        first.boot,
        first.seq_first,
        last.seq_last,
        min(each.committed_at_first for each in found),
        max(each.committed_at_last for each in found),
        found[0].prev,
        last_of(last, found[-1]),
        now,
        tuple(itertools.chain.from_iterable(each.packs for each in found)),
        _join_streams(found, rows),
    )
    content = parquet.encode(tables.sort_events(rows), footer.encode())
    generation = max(source.segment.generation for source in group) + 1
    key = names.l1_key(first.node, first.boot, first.seq_first, last.seq_last, generation, memoryview(content))
    with suppress(AlreadyThere):
        journal.store.put(key, memoryview(content))
    return key


def sweep(journal: Journal, clock: Clock, grace_seconds: float) -> list[str]:
    """Delete segments that merged ones have stood for since before the grace period; their keys.

    The store is listed again before every few of them, and what covers them is read: neither a second sweeper nor a
    damaged segment makes us take away the last copy of an event.
    """
    deleted: list[str] = []
    while gone := _sweep_once(journal, clock.now() - int(grace_seconds * 1_000_000)):
        deleted.extend(gone)
    return deleted


def _sweep_once(journal: Journal, merged_before: int) -> list[str]:
    listed = segments.listed(journal.store)
    chosen = segments.choose(listed).segments
    keys = {segment.key for segment in chosen}
    left_over = [segment for segment in listed if segment.key not in keys]
    trusted: dict[str, bool] = {}
    gone: list[str] = []
    for segment in left_over[:_SWEEP_MAX]:
        cover = _cover(segment, chosen)
        for each in cover:
            if each.key not in trusted:
                trusted[each.key] = _stands(journal, each, merged_before)
        if cover and all(trusted[each.key] for each in cover):
            gone.append(segment.key)
    journal.store.delete(*gone)
    return gone


def _cover(segment: Segment, chosen: Sequence[Segment]) -> list[Segment]:
    """The chosen segments that together hold every commit of this one; none if some are not held."""
    cover = [
        each
        for each in chosen
        if each.run == segment.run and each.seq_first <= segment.seq_last and each.seq_last >= segment.seq_first
    ]
    held = sum(min(each.seq_last, segment.seq_last) - max(each.seq_first, segment.seq_first) + 1 for each in cover)
    return cover if held == segment.seq_last - segment.seq_first + 1 else []


def _stands(journal: Journal, segment: Segment, merged_before: int) -> bool:
    """Whether a merged segment is in the store itself, whole, and old enough to be known to every reader."""
    try:
        journal.store.size(segment.key)
        return segments.footer(journal, segment.key).merged_at <= merged_before
    except (Damaged, Missing):
        return False


def _is_due(journal: Journal, run: Sequence[Segment], now: int, rules: Rules) -> bool:
    if run[0].generation > 0:
        return len(run) >= rules.segments_min
    if len(run) >= rules.commits_min:
        return True
    if len(run) < 2:
        return False
    try:
        oldest = segments.footer(journal, run[0].key).committed_at_first
    except (Damaged, Missing):
        return True  # the grouping tells the one from the other
    return now - oldest >= rules.age_seconds * 1_000_000


def _groups(journal: Journal, run: Sequence[Segment], rules: Rules, result: Merged) -> Iterator[list[_Source]]:
    """A run, read, and cut where a merged segment would have too many rows, and where a source is damaged or has
    gone: another process may have merged it meanwhile."""
    group: list[_Source] = []
    rows = 0
    for segment in run:
        source = None
        try:
            source = _read(journal, segment)
        except Damaged as error:
            result.damaged.append(error)
        except Missing:
            pass
        if source is not None and (not group or rows + source.rows.num_rows <= rules.rows_max):
            group.append(source)
            rows += source.rows.num_rows
            continue
        if len(group) > 1:
            yield group
        group, rows = ([source], source.rows.num_rows) if source is not None else ([], 0)
    if len(group) > 1:
        yield group


def _join_streams(found: Sequence[Footer], rows: pa.Table) -> dict[str, StreamFooter]:
    parts: dict[str, list[StreamFooter]] = {}
    told: dict[str, list[watermarks.Told]] = {}
    for footer in found:
        for name, stream in footer.streams.items():
            parts.setdefault(name, []).append(stream)
            told.setdefault(name, []).extend(stream.watermarks or [(footer.committed_at_last, stream.through_at)])
    kept = watermarks.choose(told, _points(rows))
    return {
        name: StreamFooter(
            join_runs(run for part in each for run in part.runs),
            max(part.through_at for part in each),
            kept[name].watermarks,
            max(kept[name].lost_microseconds, *(part.lost_microseconds for part in each)),
        )
        for name, each in parts.items()
    }


def _points(rows: pa.Table) -> dict[str, list[int]]:
    """When each stream's passes ended: {stream: [at]}."""
    marks = rows.filter(pc.equal(rows["kind"], MARK)).select(["stream", "at", "mark"])
    found: dict[str, list[int]] = {}
    for stream, at, kind in zip(*(marks[name].to_pylist() for name in marks.column_names), strict=True):
        if kind in (PASS, BASELINE):
            found.setdefault(stream, []).append(at)
    return found
