"""What lies beside the current lineage is what was the history until something left it, and came after the fork."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.model.errors import NothingThere
from engine.model.events import ROOT_ID, Dentry, Inode
from engine.model.extents import Piece
from engine.model.ids import Position
from engine.model.lineage import Beside, beside, counts, lineage
from engine.model.points import Moment
from engine.query.alike import search_alike
from engine.query.branches import Branch, branches
from engine.query.points import gaps, point_for, points
from engine.query.search import Hit, Wanted, search
from engine.query.session import Session
from engine.query.streams import StreamInfo
from engine.query.timeline import Version, all_versions, versions

from ..unit.engine.query.plain_journal import STREAM, PlainJournal
from .histories import NAMES, History, histories

FEW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
_Found = TypeVar("_Found")


def members(history: History, number: int) -> list[Position]:
    """The events of an epoch's lineage, in order."""
    line = lineage(history.epochs, number)
    found = [Position(epoch, event.lsn) for epoch, event in history.events if counts(line, epoch, event)]
    return sorted(found, key=lambda position: position.lsn)


def with_causes(history: History) -> History:
    return replace(history, epochs={n: replace(epoch, cause=f"cause {n}") for n, epoch in history.epochs.items()})


def until(history: History, number: int) -> History:
    """The history as it was when an epoch was the youngest one."""
    epochs = {n: epoch for n, epoch in history.epochs.items() if n <= number}
    return History(epochs, tuple((epoch, event) for epoch, event in history.events if epoch <= number))


def plain_beside(history: History, position: Position) -> Beside | None:
    """The rule in plain words: what the youngest lineage lacks was left where the way to it was in that last, by the
    first epoch that lacks it."""
    now, way = members(history, max(history.epochs)), members(history, position.epoch)
    if position in now:
        return None
    shared = [each for each in way if each in now]
    left = shared[-1] if shared else Position(1, 0)
    later = next(n for n in sorted(history.epochs) if n > position.epoch and position not in members(history, n))
    return Beside(left, history.epochs[later].cause)


@FEW
@given(histories())
def test_what_lies_beside_and_what_left_it(history: History) -> None:
    history = with_causes(history)
    for epoch, event in history.events:
        position = Position(epoch, event.lsn)
        assert beside(history.epochs, position) == plain_beside(history, position)


def whole(history: History, root: Path) -> PlainJournal:
    """A journal with a segment for each epoch."""
    journal = PlainJournal(root)
    journal.add_stream(epochs=list(history.epochs.values()))
    for number in history.epochs:
        journal.commit([event for epoch, event in history.events if epoch == number], number)
    return journal


def formerly(history: History, branch: Branch, ask: Callable[[Session], list[_Found]]) -> list[_Found]:
    """An answer that was given while a branch was the history."""
    with tempfile.TemporaryDirectory() as root, Session(whole(until(history, branch.epoch), Path(root))) as session:
        try:
            return ask(session)
        except NothingThere:
            return []


@FEW
@given(histories())
def test_branches_have_the_points_and_gaps_that_the_history_had(history: History) -> None:
    with tempfile.TemporaryDirectory() as root, Session(whole(history, Path(root))) as session:
        now = {point.position for point in points(session, STREAM)}
        told = branches(session, STREAM)
        assert now | {point.position for each in told for point in each.points} == set(history.points())
        assert len(now) + sum(len(each.points) for each in told) == len(history.points())
        for branch in told:
            assert branch.beside == plain_beside(history, branch.last.position)
            of_then = formerly(history, branch, lambda session: points(session, STREAM))
            assert list(branch.points) == [point for point in of_then if point.position.lsn > branch.after]
            gaps_then = formerly(history, branch, lambda session: gaps(session, STREAM))
            assert all(gap in gaps_then for gap in branch.gaps)
            found = point_for(session, STREAM, Moment("p", position=branch.last.position), 10**9)
            assert found.beside == branch.beside


@FEW
@given(histories(), st.sampled_from(NAMES), st.booleans())
def test_versions_beside_are_those_that_there_were(history: History, name: bytes, follow: bool) -> None:
    path = b"/" + name

    def log(session: Session) -> list[Version]:
        return versions(session, STREAM, path, follow)

    with tempfile.TemporaryDirectory() as root, Session(whole(history, Path(root))) as session:
        try:
            found, aside = all_versions(session, STREAM, path, follow)
        except NothingThere:
            found, aside = [], []
        told = {each.branch.epoch: list(each.versions) for each in aside}
        assert all(told.values())
        for branch in branches(session, STREAM):
            then = formerly(history, branch, log)
            assert told.get(branch.epoch, []) == [one for one in then if one.position.lsn > branch.after]
        try:
            assert log(session) == found
        except NothingThere:
            assert found == []


def begun(history: History, hit: Hit) -> int:
    """When a file in the root came to its name, as a hit says."""
    line = lineage(history.epochs, hit.last.epoch)
    return max(
        event.lsn
        for epoch, event in history.events
        if isinstance(event, Dentry)
        and (event.parent, event.name, event.file_id) == (ROOT_ID, hit.path[1:], hit.file_id)
        and event.lsn <= hit.first.lsn
        and counts(line, epoch, event)
    )


def described(history: History, hit: Hit) -> int:
    line = lineage(history.epochs, hit.last.epoch)
    return max(
        event.lsn
        for epoch, event in history.events
        if isinstance(event, Inode) and event.file_id == hit.file_id
        if event.lsn <= hit.last.lsn and counts(line, epoch, event)
    )


def in_root(found: list[Hit]) -> list[Hit]:
    return [hit for hit in found if hit.path.count(b"/") == 1]


@FEW
@given(histories())
def test_names_beside_are_those_that_came_or_changed_there(history: History) -> None:
    with tempfile.TemporaryDirectory() as root, Session(whole(history, Path(root))) as session:
        found = search(session, Wanted())
        assert [hit for hit in found if not hit.beside] == formerly_now(found)
        there = {(hit.path, hit.file_id) for hit in found if not hit.beside and not hit.gone}
        for branch in branches(session, STREAM):
            then = in_root(formerly(history, branch, lambda session: search(session, Wanted())))
            expected = [
                replace(hit, gone=(hit.path, hit.file_id) not in there, beside=branch.beside)
                for hit in then
                if hit.beside is None and hit.last.lsn > branch.after
                if begun(history, hit) > branch.after
                or (hit.type != "d" and described(history, hit) > branch.after)
            ]  # fmt: skip
            told = in_root([hit for hit in found if hit.beside and hit.last.epoch == branch.epoch])
            assert told == expected
        deleted = search(session, Wanted(deleted=True))
        assert all(hit.gone for hit in deleted)
        came = [
            hit for hit in in_root(found) if hit.beside and hit.gone and begun(history, hit) > after_of(session, hit)
        ]
        assert [hit for hit in in_root(deleted) if hit.beside] == came


def formerly_now(found: list[Hit]) -> list[Hit]:
    """Those of the lineage go before those beside it."""
    first = next((n for n, hit in enumerate(found) if hit.beside), len(found))
    return found[:first]


def after_of(session: Session, hit: Hit) -> int:
    return next(each.after for each in branches(session, STREAM) if each.epoch == hit.last.epoch)


@FEW
@given(histories())
def test_contents_beside_are_those_that_came_there(history: History) -> None:
    def judge(info: StreamInfo, pieces: list[Piece], size: int) -> bool:
        return size % 2 == 0

    def ask(session: Session) -> list[Hit]:
        return search_alike(session, Wanted(), judge)  # type: ignore[arg-type]

    with tempfile.TemporaryDirectory() as root, Session(whole(history, Path(root))) as session:
        found = ask(session)
        for branch in branches(session, STREAM):
            then = [hit for hit in formerly(history, branch, ask) if not hit.beside]
            expected = [replace(hit, gone=True, beside=branch.beside) for hit in then if hit.first.lsn > branch.after]
            assert [hit for hit in found if hit.beside and hit.last.epoch == branch.epoch] == expected
