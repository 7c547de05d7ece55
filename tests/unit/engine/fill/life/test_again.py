"""A tree that nobody guards is begun again by whoever lives longer: as it was begun, once in a while."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from engine.fill.base import CANCELLED, FILLING, PRE_ACCESS
from engine.fill.kept import documents
from engine.fill.kept.documents import State
from engine.fill.life import again, at_boot, starting
from engine.fill.life.again import AGAIN_SECONDS, Again
from tests.nodes import wait_for
from tests.unit.engine.fill.life.test_recoveries import place_with


class Time:
    def __init__(self) -> None:
        self.seconds = 100.0

    def monotonic(self) -> float:
        return self.seconds


def test_it_is_covered_first_and_begun_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(at_boot, "possible", lambda: False)
    place = place_with(tmp_path, FILLING, PRE_ACCESS, dir=str(tmp_path))
    done: list[str] = []
    monkeypatch.setattr(again, "module_of", lambda recipe: type("M", (), {"cover": lambda *_: done.append("cover")}))
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\necho "$BCS_WORD $PYTHONPATH" >{tmp_path}/word\n')
    script.chmod(0o755)
    told = {"python": str(script), "environment": {"BCS_WORD": "as then", "PYTHONPATH": str(tmp_path)}}
    (place.path / "started.json").write_text(json.dumps(told))
    clock = Time()
    looks = Again(tmp_path, clock)  # type: ignore[arg-type]
    [said] = looks.look()
    assert "is covered" in said and done == ["cover"]
    word = tmp_path / "word"
    wait_for(lambda: word.exists() and bool(word.read_text()), 120, "the process that is begun")
    assert (tmp_path / "word").read_text() == f"as then {tmp_path}\n"
    for later in (1.0, AGAIN_SECONDS / 2):
        clock.seconds = 100.0 + later
        assert looks.look() == []
    clock.seconds = 101.0 + AGAIN_SECONDS
    assert len(looks.look()) == 1
    os.waitpid(-1, 0)
    documents.write_state(place, State(CANCELLED))
    clock.seconds += 2 * AGAIN_SECONDS
    assert looks.look() == []


def test_a_program_that_has_gone_is_not_asked_for(tmp_path: Path) -> None:
    place = place_with(tmp_path, FILLING)
    assert starting._as_before(place) is None
    starting._note_how(place, {"PYTHONPATH": str(tmp_path)})
    assert starting._as_before(place) == (sys.executable, {"PYTHONPATH": str(tmp_path)})
    assert (place.path / "started.json").stat().st_mode & 0o077 == 0
    starting._note_how(place, {"PYTHONPATH": str(tmp_path / "gone")})
    assert starting._as_before(place) is None
