"""A line when a matter begins and one when it is over, as JSON with fields, and none in between."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.agent.status.matters import Matter, Told
from engine.env.clock import Clock

GAP = Matter("gap", "changes since noon may have been missed (agent was killed); it is looking", "g/h/s")
SKEW = Matter("clock-skew", "this host's clock is 5.0 s ahead of the site's")
NODE = Matter("node", "the node does not hear this host")


class Turned(Clock):
    def __init__(self) -> None:
        self.at = 100.0

    def monotonic(self) -> float:
        return self.at


@pytest.fixture(autouse=True)
def as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BCS_LOG", "json")
    monkeypatch.delenv("BCS_LOG_LEVEL", raising=False)


def said(capfd: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capfd.readouterr().err.splitlines()]


def test_each_begins_once_and_ends_once(capfd: pytest.CaptureFixture[str]) -> None:
    clock = Turned()
    told = Told(clock)
    for found in ([GAP], [GAP, SKEW], [SKEW], [], []):
        told.now(found)
        clock.at += 2.5
    lines = said(capfd)
    assert [(line["level"], line["matter"], line.get("source"), line.get("seconds")) for line in lines] == [
        ("warning", "gap", "g/h/s", None),
        ("warning", "clock-skew", None, None),
        ("info", "gap", "g/h/s", 5.0),
        ("info", "clock-skew", None, 5.0),
    ]
    assert lines[0]["message"] == GAP.sentence and lines[2]["message"] == "g/h/s: gap is over"


def test_a_matter_whose_numbers_change_is_the_same_one(capfd: pytest.CaptureFixture[str]) -> None:
    told = Told(Turned())
    for seconds in range(5):
        told.now([Matter("lag", f"{seconds} s behind", "g/h/s")])
    assert len(said(capfd)) == 1


def test_of_two_sources_each_has_its_own(capfd: pytest.CaptureFixture[str]) -> None:
    told = Told(Turned())
    told.now([GAP, Matter("gap", "x", "g/h/other")])
    told.now([GAP])
    assert [(line["source"], line["level"]) for line in said(capfd)] == [
        ("g/h/s", "warning"), ("g/h/other", "warning"), ("g/h/other", "info"),
    ]  # fmt: skip


def test_what_others_tell_is_not_told_twice(capfd: pytest.CaptureFixture[str]) -> None:
    told = Told(Turned())
    told.now([NODE, Matter("failed", "not protected: x", "g/h/s")])
    told.now([])
    assert said(capfd) == []


def test_no_secret_gets_into_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    Told(Turned()).now([Matter("gap", "https://ann:hunter2@host bcse_0123456789abcdef0123 failed", "g/h/s")])
    text = capfd.readouterr().err
    assert "hunter2" not in text and "0123456789abcdef" not in text
