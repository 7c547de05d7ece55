"""Checking segments: each is what its name says, together they are every commit, and their chains hold.

What is lost is known from what is left: a sequence number between others, the hash of the commit before, the LSNs that
a stream lacks between two runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from engine.format import names
from engine.format.footer import Footer, Run, runs_of
from engine.format.names import Segment
from engine.journal import segments
from engine.journal.epochs import Stream
from engine.journal.findings import (
    CHANGED,
    HASH_MISMATCH,
    HOLE,
    MISSING,
    SWAPPED,
    TAIL_MISSING,
    TRUNCATED,
    UNREADABLE,
    Affected,
    CheckError,
    is_cut_short,
)
from engine.journal.heads import last_of
from engine.journal.open import Journal
from engine.journal.segments import Hole
from engine.model.errors import Damaged

_PARQUET_END = b"PAR1"


@dataclass(slots=True)
class Segments:
    """The segments that can be trusted and stand for the journal, in order, with their footers; what is wrong with
    the others and between them; the commits that are lost."""

    trusted: list[tuple[Segment, Footer]] = field(default_factory=list)
    errors: list[CheckError] = field(default_factory=list)
    holes: tuple[Hole, ...] = ()


def check_segments(
    journal: Journal, keys: Sequence[str], streams: Mapping[str, Stream], boots: Mapping[int, Mapping[str, Any]]
) -> Segments:
    """Look at every segment and checkpoint among `keys`. `boots` are the fields of boots' documents by number.

    Raises Missing when one of them has gone.
    """
    whole: list[Segment] = []
    bad: dict[str, tuple[str, str]] = {}
    hashes = {name_hash: key for key in keys if (name_hash := names.hash_in(key)) is not None}
    for key in hashes.values():
        fault = _fault(journal, key, hashes)
        segment = names.parse_segment(key)
        if fault is not None:
            bad[key] = fault
        elif segment is not None:
            whole.append(segment)
    visible = segments.choose(whole)
    found = Segments(holes=visible.holes)
    for segment in visible.segments:
        found.trusted.append((segment, segments.footer(journal, segment.key)))
    lost = _lost_commits(found, bad, boots)
    found.holes = tuple(hole for hole, _ in lost)
    found.errors = [CheckError(key, kind, detail) for key, (kind, detail) in bad.items()]
    gaps = list(_lsn_gaps(found.trusted))
    for hole, error in lost:
        affected = _affected(hole, found.trusted, gaps, streams)
        culprits = [each for each in found.errors if _lies_in(each.object, hole)]
        for each in culprits:
            found.errors[found.errors.index(each)] = each.with_affected(affected)
        if not culprits:
            found.errors.append(error.with_affected(affected))
    found.errors += _unexplained(gaps, found, streams)
    found.errors += _broken_chains(found.trusted)
    return found


def _fault(journal: Journal, key: str, hashes: Mapping[str, str]) -> tuple[str, str] | None:
    """(kind, detail) of what is wrong with an object whose name carries its hash; None for nothing. Raises Missing."""
    try:
        journal.files.path(key)
        if names.parse_segment(key) is not None:
            segments.footer(journal, key)
        return None
    except OSError as error:
        return UNREADABLE, str(error)
    except Damaged as error:
        actual = error.details.get("hash")
        if actual is None:
            return HASH_MISMATCH, error.message
        other = hashes.get(actual)
        if other is not None and other != key:
            return SWAPPED, f"it holds the content of {other}"
    if is_cut_short(journal.store.get(key), _PARQUET_END):
        return TRUNCATED, f"its end is missing: {journal.store.size(key)} bytes are left"
    return CHANGED, f"its content has the hash {actual}"


def _lost_commits(
    found: Segments, bad: Mapping[str, object], boots: Mapping[int, Mapping[str, Any]]
) -> list[tuple[Hole, CheckError]]:
    """Commits that must be there: between others, and at the end of boots, known from those who came after."""
    lost = [(hole, _missing(hole, _prev_after(hole, found.trusted))) for hole in found.holes]
    ends = _ends(found.trusted)
    known = {last_of(segment, footer) for segment, footer in found.trusted}
    starts = {(segment.boot, footer.prev) for segment, footer in found.trusted if segment.seq_first == names.SEQ_FIRST}
    named = starts | {(number, str(fields["last"])) for number, fields in boots.items()}
    missing: dict[str, int] = {}
    for boot, last in sorted(named):
        if last and last not in known:
            missing.setdefault(last, boot)
    for last, boot in missing.items():
        node, before = _boot_before(boot, last, boots, ends)
        end = ends.get((before, node), names.SEQ_FIRST - 1)
        hole = Hole(before, node, end + 1, end + 1)
        if not any((each.boot, each.node) == (before, node) and each.seq_first == hole.seq_first for each, _ in lost):
            key = f"{names.L0}{names.run_name(node, before)}/{end + 1:012x}.{last}.parquet"
            detail = f"boot {boot} names a commit of boot {before} behind commit {end} that is not there"
            lost.append((hole, CheckError(key, TAIL_MISSING, detail)))
    lost += _damaged_ends(ends, bad, [hole for hole, _ in lost])
    return lost


def _damaged_ends(
    ends: Mapping[tuple[int, str], int], bad: Mapping[str, object], holes: Sequence[Hole]
) -> Iterator[tuple[Hole, CheckError]]:
    """Damaged segments behind all others of their boot, of which nobody else knows."""
    for key in bad:
        segment = names.parse_segment(key)
        if segment is None or ends.get((segment.boot, segment.node), 0) >= segment.seq_last:
            continue
        hole = Hole(segment.boot, segment.node, segment.seq_first, segment.seq_last)
        if not any(_lies_in(key, each) for each in holes):
            yield hole, CheckError(key, CHANGED, "")


def _missing(hole: Hole, prev: str) -> CheckError:
    """The object that a hole lacks. Its name is known exactly when it is a single commit."""
    run = names.run_name(hole.node, hole.boot)
    if hole.seq_first == hole.seq_last:
        return CheckError(f"{names.L0}{run}/{hole.seq_first:012x}.{prev}.parquet", MISSING, "later commits are there")
    key = f"{names.L1}{run}/{hole.seq_first:012x}-{hole.seq_last:012x}"
    return CheckError(key, MISSING, f"commits {hole.seq_first} to {hole.seq_last}; later ones are there")


def _prev_after(hole: Hole, trusted: Sequence[tuple[Segment, Footer]]) -> str:
    for segment, footer in trusted:
        if (segment.boot, segment.node, segment.seq_first) == (hole.boot, hole.node, hole.seq_last + 1):
            return footer.prev
    return "unknown"


def _ends(trusted: Sequence[tuple[Segment, Footer]]) -> dict[tuple[int, str], int]:
    """The last sequence number of each boot."""
    ends: dict[tuple[int, str], int] = {}
    for segment, _ in trusted:
        ends[segment.boot, segment.node] = max(ends.get((segment.boot, segment.node), 0), segment.seq_last)
    return ends


def _boot_before(
    boot: int, last: str, boots: Mapping[int, Mapping[str, Any]], ends: Mapping[tuple[int, str], int]
) -> tuple[str, int]:
    """(node, number) of the boot that made the commit that `boot` found as the last one: the youngest one before it
    that had not found the same commit itself."""
    for number in sorted((each for each in boots if each < boot), reverse=True):
        if str(boots[number]["last"]) != last:
            return str(boots[number]["node"]), number
    older = [(number, node) for number, node in ends if number < boot]
    number, node = max(older, default=(max(1, boot - 1), "unknown"))
    return node, number


def _lies_in(key: str, hole: Hole) -> bool:
    segment = names.parse_segment(key)
    return (
        segment is not None
        and (segment.boot, segment.node) == (hole.boot, hole.node)
        and segment.seq_first <= hole.seq_last
        and segment.seq_last >= hole.seq_first
    )


@dataclass(frozen=True, slots=True)
class _Gap:
    """A stream lacks events between two of its runs; `before` and `after` are the places of the segments that hold
    those, as (boot, sequence); `run` is what is missing."""

    stream: str
    run: Run
    before: tuple[int, int]
    after: tuple[int, int]
    from_at: int
    to_at: int


def _lsn_gaps(trusted: Sequence[tuple[Segment, Footer]]) -> Iterator[_Gap]:
    runs: dict[tuple[str, int], list[tuple[Run, Segment, Footer]]] = {}
    for segment, footer in trusted:
        for stream, run in runs_of(footer):
            runs.setdefault((stream, run.epoch), []).append((run, segment, footer))
    for (stream, epoch), found in runs.items():
        found.sort(key=lambda each: each[0].lsn_first)
        for (run, segment, footer), (later, later_segment, later_footer) in pairwise(found):
            if later.lsn_first > run.lsn_last + 1:
                missing = Run(epoch, run.lsn_last + 1, later.lsn_first - 1, run.hash, later.prev)
                yield _Gap(
                    stream,
                    missing,
                    (segment.boot, segment.seq_last),
                    (later_segment.boot, later_segment.seq_first),
                    footer.committed_at_last,
                    later_footer.committed_at_first,
                )


def _affected(
    hole: Hole, trusted: Sequence[tuple[Segment, Footer]], gaps: Sequence[_Gap], streams: Mapping[str, Stream]
) -> list[Affected]:
    """The streams and times that lost commits may have held.

    Streams that go on behind the hole without a gap lost nothing in it; those that have a gap did; of those that do
    not go on nobody knows, so they are named as well.
    """
    place = (hole.boot, hole.seq_first)
    earlier = [footer for segment, footer in trusted if (segment.boot, segment.seq_last) < place]
    later = [footer for segment, footer in trusted if (segment.boot, segment.seq_first) > place]
    from_at = earlier[-1].committed_at_last if earlier else 0
    to_at = later[0].committed_at_first if later else None
    certain = {gap.stream for gap in gaps if gap.before < place < gap.after}
    going_on = {stream for footer in later for stream, _ in runs_of(footer)}
    affected = sorted(certain | (set(streams) - going_on))
    return [Affected(_address(stream, streams), "", from_at, to_at) for stream in affected]


def _unexplained(gaps: Sequence[_Gap], found: Segments, streams: Mapping[str, Stream]) -> Iterator[CheckError]:
    """Events that are missing though no commit is."""
    for gap in gaps:
        if any(gap.before < (hole.boot, hole.seq_first) < gap.after for hole in found.holes):
            continue
        detail = f"events {gap.run.lsn_first} to {gap.run.lsn_last} of epoch {gap.run.epoch} are in no commit"
        affected = Affected(_address(gap.stream, streams), "", gap.from_at, gap.to_at)
        yield CheckError(f"{names.STREAMS}{gap.stream}", HOLE, detail, (affected,))


def _broken_chains(trusted: Sequence[tuple[Segment, Footer]]) -> Iterator[CheckError]:
    """Segments that follow one another but do not name one another: one of them is not the one that was committed."""
    for (segment, footer), (later, later_footer) in pairwise(trusted):
        follows = (segment.boot, segment.node, segment.seq_last + 1) == (later.boot, later.node, later.seq_first)
        if follows and last_of(segment, footer) != later_footer.prev:
            detail = f"the commit after it names {later_footer.prev} as the one before, not {last_of(segment, footer)}"
            yield CheckError(segment.key, HASH_MISMATCH, detail)
    ends: dict[tuple[str, int], Run] = {}
    for segment, footer in trusted:
        for stream, run in sorted(runs_of(footer), key=lambda each: (each[0], each[1].epoch, each[1].lsn_first)):
            known = ends.get((stream, run.epoch))
            if known is not None and known.lsn_last + 1 == run.lsn_first and known.hash != run.prev:
                detail = (
                    f"stream {stream} goes on at {run.epoch}.{run.lsn_first} from another batch than the one before"
                )
                yield CheckError(segment.key, HASH_MISMATCH, detail)
            ends[stream, run.epoch] = run


def _address(stream: str, streams: Mapping[str, Stream]) -> str:
    return str(streams[stream].address) if stream in streams else stream
