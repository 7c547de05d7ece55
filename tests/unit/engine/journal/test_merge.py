"""Merging: the same events in fewer objects, whatever fails on the way; sources go late and only when covered."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from engine.env.clock import Clock
from engine.format import names, parquet
from engine.format.schema import EVENTS
from engine.journal import merge, segments
from engine.journal.commit import Committer
from engine.journal.heads import recover
from engine.journal.merge import Rules, merge_due
from engine.journal.open import Journal, open_journal
from engine.model.ids import Address
from engine.store import faults
from engine.store.base import Store
from engine.store.faults import FaultyStore
from engine.store.local import LocalStore

from .writers import MASTER_KEY, Writer, all_rows, file_of

EAGER = Rules(commits_min=4, age_seconds=0.0, segments_min=2, rows_max=1000, grace_seconds=10.0)


class LaterClock(Clock):
    """The real clock, set forward."""

    def __init__(self) -> None:
        self.ahead_seconds = 0.0

    def now(self) -> int:
        return super().now() + int(self.ahead_seconds * 1_000_000)


def some_history(store: Store, boots: int = 2, commits: int = 9) -> None:
    with open_journal(store, MASTER_KEY, create=True) as journal:
        for boot in range(boots):
            with Committer(journal, "node-a") as committer:
                writers = [Writer(committer, Address("group", "host", f"s{n}"), f"w{boot}") for n in range(3)]
                for number in range(commits):
                    writer = writers[number % 3]
                    writer.commit(file_of(b"%d" % number * 50, b"file%d.%d" % (boot, number), number))


def sorted_rows(journal: Journal) -> pa.Table:
    rows = all_rows(journal)
    table = pa.table({name: rows.column(name).cast(pa.string()) if name in ("stream", "pack") else rows.column(name)
                      for name in EVENTS.names})  # fmt: skip
    return table.sort_by([("stream", "ascending"), ("epoch", "ascending"), ("lsn", "ascending")]).combine_chunks()


def test_merged_segments_hold_the_same_events(store: Store) -> None:
    some_history(store)
    with open_journal(store, MASTER_KEY) as journal:
        before, heads = sorted_rows(journal), recover(journal)
        count = len(segments.visible(store).segments)
        assert merge_due(journal, Clock(), EAGER).written
        visible = segments.visible(store)
        assert len(visible.segments) < count and not visible.holes
        assert all(segment.level == 1 for segment in visible.segments)
        assert sorted_rows(journal).equals(before)
        after = recover(journal)
        assert after.last == heads.last
        positions = {s: {n: (h.position, h.hash) for n, h in each.heads.items()} for s, each in heads.streams.items()}
        assert positions == {
            s: {n: (h.position, h.hash) for n, h in each.heads.items()} for s, each in after.streams.items()
        }
        for segment in visible.segments:
            rows = parquet.read_events(journal.files.path(segment.key), segment.key)
            keys = [rows.column(name).cast(pa.string()) if name == "stream" else rows.column(name)
                    for name in ("stream", "kind", "subject", "lsn")]  # fmt: skip
            listed = list(zip(*(key.to_pylist() for key in keys), strict=True))
            assert listed == sorted(listed)


def test_generations_rise_until_nothing_is_due(store: Store) -> None:
    some_history(store, boots=1, commits=40)
    with open_journal(store, MASTER_KEY) as journal:
        before = sorted_rows(journal)
        rounds = 0
        for rows_max in (10, 30, 90):
            rules = Rules(commits_min=2, age_seconds=0.0, segments_min=2, rows_max=rows_max, grace_seconds=0.0)
            while merge_due(journal, Clock(), rules).written:
                rounds += 1
                assert rounds < 20
        visible = segments.visible(store)
        assert max(segment.generation for segment in visible.segments) == 3
        assert all(rows_of(journal, segment) <= 90 for segment in visible.segments)
        assert sorted_rows(journal).equals(before)
        assert [segment.key for segment in visible.segments] == sorted(item.key for item in store.list(names.L1))


def rows_of(journal: Journal, segment: segments.Segment) -> int:
    return parquet.read_rows(journal.files.path(segment.key), segment.key).num_rows


def test_sources_go_only_after_the_grace_period(store: Store) -> None:
    some_history(store)
    clock = LaterClock()
    with open_journal(store, MASTER_KEY) as journal:
        before = sorted_rows(journal)
        listed = len(segments.listed(store))
        first = merge_due(journal, clock, EAGER)
        assert not first.deleted and len(segments.listed(store)) == listed + len(first.written)
        clock.ahead_seconds = 11
        assert len(merge_due(journal, clock, EAGER).deleted) == listed
        assert not list(store.list(names.L0))
        assert sorted_rows(journal).equals(before)


def test_young_commits_are_left_alone(store: Store) -> None:
    some_history(store)
    with open_journal(store, MASTER_KEY) as journal:
        assert not merge_due(journal, Clock()).written
        clock = LaterClock()
        clock.ahead_seconds = 31
        assert merge_due(journal, clock).written


def test_nothing_goes_while_what_covers_it_is_damaged(store: LocalStore) -> None:
    some_history(store, boots=1)
    clock = LaterClock()
    with open_journal(store, MASTER_KEY) as journal:
        (merged,) = merge_due(journal, clock, EAGER).written
        path = store.local_path(merged)
        assert path is not None
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        clock.ahead_seconds = 1000
        assert not merge_due(journal, clock, EAGER).deleted


def test_a_damaged_source_stays_and_is_named(store: LocalStore) -> None:
    some_history(store, boots=1)
    victim = sorted(store.list(names.L0), key=lambda item: item.key)[4].key
    path = store.local_path(victim)
    assert path is not None
    path.write_bytes(path.read_bytes()[:-1])
    with open_journal(store, MASTER_KEY) as journal:
        result = merge_due(journal, Clock(), EAGER)
        assert [error.details["object"] for error in result.damaged] == [victim]
        assert len(result.written) == 2
        kept = [segment for segment in segments.visible(store).segments if segment.level == 0]
        assert [segment.key for segment in kept] == [victim]


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize("fault", [faults.before, faults.after], ids=["nothing done", "answer lost"])
def test_every_call_may_fail(tmp_path: Path, fault: object, lasting: bool) -> None:
    some_history(LocalStore(tmp_path / "original"), boots=1, commits=6)
    for number in itertools.count(1):
        shutil.copytree(tmp_path / "original", tmp_path / f"{number}")
        sound = LocalStore(tmp_path / f"{number}")
        store = FaultyStore(sound)
        clock = LaterClock()
        with open_journal(store, MASTER_KEY) as journal, open_journal(sound, MASTER_KEY) as other:
            before = sorted_rows(other)
            met_at = len(store.calls) + number
            store.at_call(number, fault(OSError(5, "input/output error")), lasting=lasting)  # type: ignore[operator]
            for ahead in (0, 60):
                clock.ahead_seconds = ahead
                try:
                    merge_due(journal, clock, EAGER)
                except OSError:
                    pass
                assert sorted_rows(other).equals(before)
                assert not segments.visible(sound).holes
            met = len(store.calls) >= met_at
            store.heal()
            clock.ahead_seconds = 200
            merge_due(journal, clock, EAGER)
            clock.ahead_seconds = 300
            merge_due(journal, clock, EAGER)
            assert sorted_rows(other).equals(before)
            assert not list(sound.list(names.L0))
        if not met:
            break
    assert number > 10


def test_two_mergers_at_once_do_no_harm(store: Store) -> None:
    some_history(store, boots=1)
    with open_journal(store, MASTER_KEY) as journal:
        before = sorted_rows(journal)
        (run,) = merge.due(journal, Clock().now(), EAGER)
        merge.merge(journal, run, Clock().now())
        merge.merge(journal, run, Clock().now() + 1)
        merge.merge(journal, run[:4], Clock().now() + 2)
        merge.merge(journal, run[3:], Clock().now() + 3)
        assert sorted_rows(journal).equals(before)
        assert len(merge.sweep(journal, Clock(), -1)) == len(run) + 3
        assert sorted_rows(journal).equals(before)
