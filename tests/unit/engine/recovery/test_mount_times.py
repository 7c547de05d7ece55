"""The names of moments in a mount: each full hour with changes before it, marks, and any time that somebody types."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.model.events import DIRECTORY, ROOT_ID, Inode, Mark
from engine.model.points import Gap
from engine.model.times import parse_time
from engine.query.session import Session
from engine.recovery.mount.times import names_of, point_at
from tests.unit.engine.query.plain_journal import STREAM, PlainJournal


def at(clock: str) -> int:
    return parse_time(f"2026-11-22T{clock}Z", 0)


NOW = at("15:30:00")


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    journal = PlainJournal(tmp_path)
    journal.add_stream()
    passes = ("09:50:00", "10:20:00.5", "11:00:00", "14:40:00", "15:10:00")
    journal.commit(
        [
            Inode(1, at("09:10:00"), ROOT_ID, DIRECTORY, 0o755, 0, 0, 0, 0),
            Mark(2, at("09:10:00"), "baseline", "", "quiet"),
            *(Mark(3 + number, at(clock), "pass", "", "quiet") for number, clock in enumerate(passes)),
            Mark(8, at("15:10:00"), "bookmark", "before-upgrade"),
        ]
    )
    with Session(journal) as made:
        yield made


def shown(session: Session, gap: Gap | None = None) -> list[str]:
    return [name.decode() for name in names_of(session, STREAM, NOW, gap)]


def typed(session: Session, name: str, gap: Gap | None = None) -> str | None:
    found = point_at(session, STREAM, name.encode(), NOW, gap)
    return None if found is None else str(found.position)


def test_each_full_hour_with_changes_before_it_is_listed_and_not_the_one_to_come(session: Session) -> None:
    hours = ["2026-11-22T10:00:00Z", "2026-11-22T11:00:00Z", "2026-11-22T15:00:00Z"]
    assert shown(session) == [*hours, "mark:before-upgrade"]
    assert [typed(session, each) for each in hours] == ["1.3", "1.5", "1.6"]


def test_hours_in_a_gap_are_no_moments(session: Session) -> None:
    gap = Gap(at("14:50:00"), None, "the agent is silent")
    assert shown(session, gap) == ["2026-11-22T10:00:00Z", "2026-11-22T11:00:00Z", "mark:before-upgrade"]
    assert typed(session, "2026-11-22T15:00:00Z", gap) is None


@pytest.mark.parametrize(
    ("name", "point"),
    [
        ("2026-11-22T10:30:00Z", "1.4"),
        ("2026-11-22T11:30:00+01:00", "1.4"),
        ("2026-11-22T05:30:00.25-05:00", "1.4"),
        ("2026-11-22T10-30-00Z", "1.4"),
        ("2026-11-22T10:20:00.4Z", "1.3"),
        ("20261122T103000Z", "1.4"),
        ("2026-11-22T10:30Z", "1.4"),
        ("2026-11-23", None),
        ("-20m", "1.7"),
        ("-5h", "1.4"),
        ("latest", "1.7"),
        ("point:1.5", "1.5"),
        ("mark:before-upgrade", "1.7"),
        ("2026-11-22T09:00:00Z", None),
        ("2026-11-22T25:00:00Z", None),
        ("2026-11-22T16:00:00Z", None),
        ("yesterday", None),
    ],
)
def test_any_time_may_be_typed(session: Session, name: str, point: str | None) -> None:
    assert typed(session, name) == point
