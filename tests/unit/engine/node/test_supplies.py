"""What a node keeps of trees that hosts fill from it: all that somebody asks for, and few that nobody does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.env.clock import Clock
from engine.model.events import DIRECTORY, ROOT_ID, Inode, Mark
from engine.node import supplies
from engine.node.supplies import ASKED_MAX, IDLE_SECONDS, SUPPLIED_MAX, Supplies
from tests.unit.engine.query.plain_journal import STREAM, PlainJournal


@dataclass
class Given:
    id: str
    stream: str = STREAM
    position: str = "1.2"
    point_at: int = 20
    point_class: str = "quiet"
    path: str | None = None


class Still(Clock):
    now_seconds = 0.0

    def monotonic(self) -> float:
        return self.now_seconds


@pytest.fixture
def clock() -> Still:
    return Still()


@pytest.fixture
def made(tmp_path: Path, clock: Still, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Supplies, list[str]]]:
    journal = PlainJournal(tmp_path)
    journal.add_stream()
    journal.commit([Inode(1, 10, ROOT_ID, DIRECTORY, 0o755, 0, 0, 0, 1), Mark(2, 20, "baseline", "", "quiet")])
    worked_out: list[str] = []

    class Counted:
        def __init__(self, journal: object, id: str, prepare: object, folder: Path) -> None:
            worked_out.append(id)

    monkeypatch.setattr(supplies, "Supplied", Counted)
    found = Supplies(journal, clock)  # type: ignore[arg-type]
    yield found, worked_out
    found.shut()


def test_many_that_are_asked_for_in_turn_are_worked_out_once(made: tuple[Supplies, list[str]], clock: Still) -> None:
    found, worked_out = made
    for _ in range(3):
        for number in range(3 * SUPPLIED_MAX):
            found.of(Given(str(number)))
        clock.now_seconds += 1
    assert worked_out == [str(number) for number in range(3 * SUPPLIED_MAX)]


def test_those_that_nobody_asks_for_go_and_there_is_an_end_to_the_others(
    made: tuple[Supplies, list[str]], clock: Still
) -> None:
    found, worked_out = made
    for number in range(3 * SUPPLIED_MAX):
        found.of(Given(str(number)))
    clock.now_seconds += IDLE_SECONDS + 1
    found.of(Given("later"))
    assert len(found._known) == SUPPLIED_MAX
    for number in range(2 * ASKED_MAX):
        found.of(Given(f"more {number}"))
    assert len(found._known) == ASKED_MAX
    found.forget(f"more {2 * ASKED_MAX - 1}")
    assert len(found._known) == ASKED_MAX - 1 and worked_out.count("later") == 1
