"""The node's log: few lines of one kind, and libraries' warnings as lines like ours."""

from __future__ import annotations

import logging

import pytest

from engine.model.times import MINUTE
from engine.node.commits import noted
from engine.node.desired import Desired
from engine.node.log import A_MINUTE, Sparingly, take_library_logs
from engine.node.monitoring.metrics import Metrics

from .conftest import TurnedClock


def test_whoever_causes_lines_can_not_fill_the_log(clock: TurnedClock, capfd: pytest.CaptureFixture[str]) -> None:
    sparingly = Sparingly(clock)
    for number in range(1000):
        sparingly.log("refused", f"batch refused {number}")
    sparingly.log("other", "something else")
    told = capfd.readouterr().err.splitlines()
    assert len(told) == A_MINUTE + 1 and told[-1].endswith("something else")
    clock.at += MINUTE
    sparingly.log("refused", "again", level="warning", batch="0123")
    assert [line.partition(" ")[2] for line in capfd.readouterr().err.splitlines()] == [
        f"warning: {1000 - A_MINUTE} lines more were left out",
        "warning: again batch=0123",
    ]


def test_what_libraries_say(capfd: pytest.CaptureFixture[str]) -> None:
    before = list(logging.getLogger().handlers)
    take_library_logs()
    take_library_logs()
    added = [each for each in logging.getLogger().handlers if each not in before]
    try:
        logging.getLogger("some.library").warning("%s of %s", "one", "two")
        logging.getLogger("some.library").info("nothing")
        try:
            raise ZeroDivisionError("no")
        except ZeroDivisionError:
            logging.getLogger("some.library").exception("it failed")
    finally:
        for each in added:
            logging.getLogger().removeHandler(each)
    told = capfd.readouterr().err
    assert len(added) == 1
    assert "Z warning: some.library: one of two\n" in told and "nothing" not in told
    assert "Z error: some.library: it failed\n" in told and "ZeroDivisionError: no" in told


def test_a_fault_in_counting_stops_no_commit(clock: TurnedClock, capfd: pytest.CaptureFixture[str]) -> None:
    noted(Metrics(clock, Desired()), clock)(clock.at, ["no batch"])  # type: ignore[list-item]
    assert "counting a commit failed: AttributeError" in capfd.readouterr().err
