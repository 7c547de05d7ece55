"""Points and moments from SQL equal the plain rule: engine.model.points.choose over a plain list."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.model.errors import NothingThere
from engine.model.events import BASELINE, BOOKMARK, GAP, Mark, is_point
from engine.model.ids import Position
from engine.model.lineage import counts, lineage
from engine.model.points import Gap, Moment, Point, choose
from engine.query.points import gaps, point_for, points
from engine.query.session import Session

from ..unit.engine.query.plain_journal import STREAM
from .histories import History, histories
from .stored import stored

FEW = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def then(history: History) -> int:
    """The epoch whose lineage was the history before any epoch was opened that left some of it behind, as all here were
    after all that is in them."""
    numbers = sorted(history.epochs)
    for before, number in itertools.pairwise(numbers):
        former, later = (
            {(epoch, event.lsn) for epoch, event in history.events if counts(line, epoch, event)}
            for line in (lineage(history.epochs, before), lineage(history.epochs, number))
        )
        if former - later:
            return before
    return max(numbers)


def plain_points(history: History, number: int) -> tuple[list[Point], list[Gap]]:
    """The rule in plain words: passes from the first baseline on, each with the last label that follows it."""
    line = lineage(history.epochs, number)
    found: list[Point] = []
    missed: list[Gap] = []
    started = False
    for epoch, event in sorted(history.events, key=lambda pair: pair[1].lsn):
        position = Position(epoch, event.lsn)
        if not isinstance(event, Mark) or not any(span.holds(position) for span in line):
            continue
        started = started or event.kind == BASELINE
        if event.kind == GAP:
            missed.append(Gap(event.gap_from, event.at, event.label))
        elif is_point(event) and started:
            found.append(Point(position, event.at, event.at + 10, event.point_class, event.label))
        elif event.kind == BOOKMARK and found:
            last = found[-1]
            found[-1] = Point(last.position, last.at, last.committed_at, last.point_class, event.label)
    return found, sorted(missed, key=lambda gap: gap.from_at)


def answer(ask: object) -> object:
    try:
        return ask()  # type: ignore[operator]
    except NothingThere as error:
        return (error.message, error.hint, error.details)


@FEW
@given(histories(), st.data())
def test_points_and_moments_are_those_of_the_rule(history: History, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as root, Session(stored(data, history, Path(root))) as session:
        expected, missed = plain_points(history, max(history.epochs))
        former = plain_points(history, then(history))
        assert points(session, STREAM) == expected
        assert gaps(session, STREAM) == missed
        if not expected:  # the current epoch continues a position before the baseline
            return
        last = expected[-1]
        assert points(session, STREAM, limit=2) == expected[-2:]
        middle = expected[len(expected) // 2].at
        assert points(session, STREAM, from_at=middle) == [point for point in expected if point.at >= middle]
        assert points(session, STREAM, to_at=middle) == [point for point in expected if point.at <= middle]
        times = data.draw(st.lists(st.integers(expected[0].at - 2, last.at + 2), min_size=1, max_size=6))
        lsns = data.draw(st.lists(st.integers(0, last.position.lsn + 1), max_size=4))
        moments = [Moment("latest"), *(Moment("then", at=at) for at in times)]
        moments += [Moment("there", position=Position(last.position.epoch, lsn)) for lsn in [last.position.lsn, *lsns]]
        moments.append(Moment("nowhere", label="nobody set this"))
        for moment in moments:
            now = last.at + 1
            known = former if moment.at is not None else (expected, missed)
            plain = answer(lambda: choose(*known, moment, now))  # noqa: B023
            assert answer(lambda: point_for(session, STREAM, moment, now)) == plain  # noqa: B023


@FEW
@given(histories(epochs_max=1), st.sampled_from(["one", "two"]), st.data())
def test_labels_lead_to_the_last_point_that_a_bookmark_of_that_name_follows(
    history: History, label: str, data: st.DataObject
) -> None:
    points_so_far: list[Position] = []
    expected = None
    for _, event in history.events:
        if is_point(event):
            points_so_far.append(Position(1, event.lsn))
        elif isinstance(event, Mark) and event.kind == BOOKMARK and event.label == label and points_so_far:
            expected = points_so_far[-1]
    with tempfile.TemporaryDirectory() as root, Session(stored(data, history, Path(root))) as session:
        try:
            found = point_for(session, STREAM, Moment("mark", label=label), 10**9)
        except NothingThere:
            assert expected is None
        else:
            assert (found.position, found.label) == (expected, label)
