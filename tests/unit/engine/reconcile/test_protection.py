"""How long an apply waits for sources of which nothing is heard, and what it says meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.env.clock import Clock
from engine.env.endpoint import UnixEndpoint
from engine.reconcile import protection
from engine.reconcile.protection import DEAD_SECONDS, SILENT_SECONDS, Watched, await_protection
from engine.reconcile.results import Result, Step


class Turned(Clock):
    """A clock that only sleeping moves."""

    seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


def waited(
    monkeypatch: pytest.MonkeyPatch, healthy: Callable[[float], str], limit: float | None
) -> tuple[Result, float, list[str]]:
    """(what came of the only source, after how many seconds, the steps that were told)."""
    clock, steps = Turned(), list[str]()

    def rows(endpoint: object) -> dict[str, dict[str, Any]]:
        word = healthy(clock.seconds)
        row = {"address": "g/h1/files", "healthy": word, "state": "protected", "point": "1.2", "synced": "synced"}
        row |= {"protected": "protected" if word == "healthy" else "unprotected", "message": ""}
        return {"g/h1/files": {**row, "baseline": {"files": 1, "bytes": 1, "done": True}}}

    monkeypatch.setattr(protection, "rows_of", rows)
    watched = Watched(
        "sf",
        UnixEndpoint(Path("/nowhere")),
        lambda row: "" if row["healthy"] == "healthy" else f"its agent is {row['healthy']}",
        lambda row: row["healthy"] == "refused",
        lambda row: "",
        0.5,
    )
    told = lambda event: steps.append(event.text) if isinstance(event, Step) else None  # noqa: E731
    [result] = await_protection(watched, {}, limit, told, clock)
    return result, clock.seconds, steps


def test_an_agent_that_starts_slowly_is_waited_for_as_long_as_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    back_after = 3 * SILENT_SECONDS
    slow = lambda at: "silent" if at < back_after else "healthy"  # noqa: E731
    result, seconds, steps = waited(monkeypatch, slow, 2 * back_after)
    assert result.ok and back_after <= seconds <= back_after + 1
    assert steps == ["waiting for h1: its agent is silent"]
    result, seconds, _ = waited(monkeypatch, slow, 100.0)
    assert not result.ok and 100 <= seconds <= 101 and result.message == "it took too long: its agent is silent"


def test_without_a_limit_silence_has_one_that_a_restart_does_not_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    result, _, _ = waited(monkeypatch, lambda at: "silent" if at < SILENT_SECONDS - 5 else "healthy", None)
    assert result.ok
    result, seconds, _ = waited(monkeypatch, lambda at: "silent", None)
    assert not result.ok and SILENT_SECONDS <= seconds <= SILENT_SECONDS + 2


def test_who_is_refused_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    result, seconds, _ = waited(monkeypatch, lambda at: "refused", 1000.0)
    assert not result.ok and seconds <= DEAD_SECONDS + 2 and result.message == "its agent is refused"
