"""The arithmetic of RPO against a naive oracle that looks at every tick and every definition in turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from engine.journal.watermarks import choose
from reports.build import run
from reports.catalog import REPORTS, Report
from reports.facts import connect

TICK = 1000
"""Microseconds of a tick: times are whole ticks, so that rounding quantiles to microseconds shows no difference."""

BEGIN, END = 10, 50
REPORT = REPORTS["recovery-audit"]
UNTIL_VERDICTS = Report("", "", REPORT.queries[: REPORT.queries.index("verdicts") + 1], REPORT.steps)


@dataclass(frozen=True)
class Point:
    at: int
    committed_at: int


@dataclass(frozen=True)
class Gap:
    from_at: int
    to_at: int
    committed_at: int


@dataclass(frozen=True)
class Told:
    """A watermark as of a commit."""

    through_at: int
    committed_at: int


@dataclass(frozen=True)
class History:
    points: tuple[Point, ...]
    gaps: tuple[Gap, ...]
    told: tuple[Told, ...]
    policies: tuple[tuple[int, int], ...]
    """(applied_at, rpo) each."""


def complete_at(history: History, moment: int) -> int | None:
    """Up to when everything was durable at `moment`; straight from the definition."""
    found = [max([point.at, *idle_after(history, point)]) for point in history.points if point.committed_at <= moment]
    if not found:
        return None
    holding = [gap.from_at for gap in history.gaps if gap.from_at <= moment < max(gap.committed_at, gap.to_at)]
    return min([max(found), *holding])


def idle_after(history: History, point: Point) -> list[int]:
    """The watermarks that say that nothing happened between a point and them."""
    return [
        told.through_at
        for told in history.told
        if told.through_at >= point.at and not any(point.at < other.at <= told.through_at for other in history.points)
    ]


def objective(history: History, moment: int) -> int | None:
    held = [rpo for applied_at, rpo in history.policies if applied_at <= moment]
    return held[-1] if held else None


def ticks(history: History) -> list[tuple[int, int]]:
    """(exposure at its begin, objective) of each judged tick; negative while the source was known to be idle."""
    found = []
    for moment in range(BEGIN, END):
        complete, rpo = complete_at(history, moment), objective(history, moment)
        if complete is not None and rpo is not None:
            found.append((moment - complete, rpo))
    return found


def share_below(exposures: Sequence[int], value: float) -> float:
    """The share of time with an exposure of at most `value` ticks."""
    below = sum(1.0 if low < 0 else min(1.0, max(0.0, value - low)) for low in exposures)
    return below / len(exposures)


def measured(history: History, lost: int = 0) -> dict[str, dict[str, float]]:
    """The report's own queries over the history: by bound, in ticks. Word is never 'on its way' here. `lost` is what a
    merge of all of it has cost each point at most."""
    connection = connect("")
    now = 10_000 * TICK
    fill(connection, "period", [(BEGIN * TICK, END * TICK, now, 0, 0, None)])
    fill(connection, "streams", [("s", "g/h/s", 0)])
    fill(connection, "spans", [("s", 1, 1, 1 << 40, 1 << 62)])
    fill(connection, "policies", [(n, at * TICK, "", "", False, "") for n, (at, _) in enumerate(history.policies, 1)])
    sources = [(n, "s", "g/h/s", rpo * TICK, "[]") for n, (_, rpo) in enumerate(history.policies, 1)]
    fill(connection, "policy_sources", sources)
    marks = [
        ("s", 1, lsn, point.at * TICK, point.committed_at * TICK, "baseline" if lsn == 1 else "pass", "", "quiet", 0)
        for lsn, point in enumerate(history.points, 1)
    ]
    marks += [
        ("s", 1, lsn, gap.to_at * TICK, gap.committed_at * TICK, "gap", "why", "", gap.from_at * TICK)
        for lsn, gap in enumerate(history.gaps, 1000)
    ]
    fill(connection, "marks", marks)
    fill(connection, "watermarks", [("s", one.through_at * TICK) for one in history.told])
    if lost:
        fill(connection, "forgotten", [("s", 0, now, lost * TICK)])
    answers = run(connection, UNTIL_VERDICTS).rows
    connection.close()
    [verdict] = answers["verdicts"]
    columns = ("judged", "worst", "p99", "median", "over")
    found = {row["bound"]: {name: row[name] / TICK for name in columns} for row in answers["rpo"]}
    lasting: dict[str, float] = {"all": sum(row["to_at"] - row["from_at"] for row in answers["timeline"]) / TICK}
    return {**found, "lasting": lasting, "verdict": {verdict["verdict"]: 1}}


def fill(connection: duckdb.DuckDBPyConnection, table: str, rows: Sequence[tuple[object, ...]]) -> None:
    if rows:
        columns = [pa.array(column) for column in zip(*rows, strict=True)]
        made = pa.table(columns, names=[f"c{n}" for n in range(len(columns))])
        connection.register("made", made)
        connection.execute(f"INSERT INTO {table} SELECT * FROM made")


moments = st.integers(0, 60)


@st.composite
def histories(draw: st.DrawFn) -> History:
    ats = sorted(draw(st.sets(moments, max_size=8)))
    commits = sorted(at + draw(st.integers(0, 6)) for at in ats)
    points = tuple(Point(at, max(at, commit)) for at, commit in zip(ats, commits, strict=True))
    gaps = []
    for _ in range(draw(st.integers(0, 2))):
        begin, lasts, late = draw(moments), draw(st.integers(1, 12)), draw(st.integers(0, 3))
        gaps.append(Gap(begin, begin + lasts, begin + lasts + late))
    told, committed_at = [], 0
    for through in sorted(draw(st.sets(moments, max_size=8))):
        # Nobody says how far all is durable before it is, and what was said goes into the next commit of all.
        durable_at = max((point.committed_at for point in points if point.at <= through), default=0)
        next_at = min((point.committed_at for point in points if point.at > through), default=1000)
        committed_at = min(next_at, max(committed_at, durable_at, through + draw(st.integers(0, 4))))
        told.append(Told(through, committed_at))
    applied = sorted(draw(st.sets(st.integers(0, 45), min_size=1, max_size=3)))
    policies = tuple((at, draw(st.integers(1, 12))) for at in applied)
    return History(points, tuple(gaps), tuple(told), policies)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(histories())
@example(History((Point(5, 6), Point(30, 31)), (Gap(12, 20, 21),), (Told(29, 31),), ((0, 5),)))
@example(History((Point(12, 14),), (Gap(0, 13, 13),), (), ((0, 5), (20, 9))))
def test_rpo_is_what_a_look_at_every_tick_finds(history: History) -> None:
    found = measured(history)
    judged = ticks(history)
    assert found["lasting"]["all"] == END - BEGIN
    if not judged:
        assert "proved" not in found
        return
    proved, exposures = found["proved"], [low for low, _ in judged]
    assert proved["judged"] == len(judged)
    assert proved["worst"] == max(0, *(low + 1 for low in exposures))
    assert proved["over"] == sum(low >= rpo for low, rpo in judged)
    for name, share in (("p99", 0.99), ("median", 0.5)):
        # The smallest exposure that is not passed for this share of the time: enough there, too little just below.
        assert share_below(exposures, proved[name] + 0.001) >= share - 1e-9
        if proved[name] > 0.002:
            assert share_below(exposures, proved[name] - 0.002) < share
    assert found["verdict"] == {"missed" if proved["over"] else "met": 1}


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(histories(), st.sets(st.integers(0, 60)))
def test_a_merged_journal_gives_the_same_values(history: History, cuts: set[int]) -> None:
    """Whatever was merged with what, as long as no watermark is left out for being one of too many."""
    kept, lost = merged(history, cuts, apart=0, kept_max=1000)
    assert lost == 0
    assert measured(kept) == measured(history)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(histories(), st.sets(st.integers(0, 60)), st.integers(0, 8), st.integers(0, 3))
def test_where_watermarks_are_left_out_the_truth_lies_between_the_bounds(
    history: History, cuts: set[int], apart: int, kept_max: int
) -> None:
    """What is proved may only grow worse by it, what is possible only better, and neither by more than was lost."""
    truth = measured(history)
    kept, lost = merged(history, cuts, apart=apart, kept_max=kept_max)
    after = measured(kept, lost)
    assert set(after) == set(truth)
    if "proved" not in truth:
        return
    for name in ("worst", "p99", "median", "over"):
        assert after["possible"][name] <= truth["proved"][name] <= after["proved"][name]
    assert after["proved"]["worst"] - truth["proved"]["worst"] <= lost
    if after["verdict"].keys() & {"met", "missed"}:
        assert after["verdict"] == truth["verdict"]


def merged(history: History, cuts: set[int], *, apart: int, kept_max: int) -> tuple[History, int]:
    """The history with its commits merged between `cuts`, and what came of it merged again; what that lost."""
    lost = 0
    told = [(one.committed_at, one.through_at) for one in history.told]
    for edges in (sorted({0, *cuts, 1000}), [0, 1000]):
        found: list[tuple[int, int]] = []
        for first, end in pairwise(edges):
            here = [one for one in told if first <= one[0] < end]
            points = [point.at for point in history.points if first <= point.committed_at < end]
            kept = choose({"s": here}, {"s": points}, apart=apart, kept_max=kept_max)["s"]
            found += kept.watermarks
            lost = max(lost, kept.lost_microseconds)
        told = found
    remaining = tuple(Told(through_at, committed_at) for committed_at, through_at in told)
    return History(history.points, history.gaps, remaining, history.policies), lost


def test_the_oracle_agrees_with_an_example_worked_by_hand() -> None:
    """A point of 10 durable at 12, one of 30 durable at 33, in between idle until 25, as was told at 26."""
    history = History((Point(10, 12), Point(30, 33)), (), (Told(25, 26),), ((0, 5),))
    exposures = [low for low, _ in ticks(history)]
    # Exposed from 25 on until 33 (8 ticks), then from 30 on (at 33: 3) until the period's end at 50 (20).
    assert max(exposures) + 1 == 20
    assert [round(value) for value in (measured(history)["proved"][name] for name in ("worst", "over"))] == [20, 18]
    assert all(after - before in (1, 1 - 5) or before < 0 for before, after in pairwise(exposures))
    assert share_below(exposures, 0) == pytest.approx(13 / 38)
