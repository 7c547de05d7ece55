"""Refusals on their way into the audit: never waited for, never lost without a word."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, cast

import pytest

from engine.env.clock import SYSTEM
from engine.model.errors import Failed
from engine.node.audit import AuditLog
from engine.node.callers import refusals
from engine.node.callers.refusals import Refusals


class Store:
    """An audit whose store may hang or fail."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.failing = False
        self.written: list[tuple[str, str]] = []
        self.more: list[int] = []

    def refusal(self, what: str, who: str, details: Mapping[str, Any], kind: str = "") -> bool:
        self.open.wait(20)
        if self.failing:
            raise Failed("no store")
        self.written.append((what, kind))
        return True

    def act(self, what: str, who: str, details: Mapping[str, Any]) -> None:
        assert what == "refused-more"
        self.more.append(details["count"])


def test_all_are_written() -> None:
    store = Store()
    noted = Refusals(cast(AuditLog, store), SYSTEM)
    for number in range(50):
        noted.note("connection-refused", "192.0.2.1", "slow" if number % 2 else "no-tls", {"error": "x"})
    noted.close()
    assert len(store.written) == 50
    assert store.more == []


def test_while_the_store_hangs_nobody_waits_and_the_rest_is_told_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "WAITING_MAX", 10)
    store = Store()
    store.open.clear()
    noted = Refusals(cast(AuditLog, store), SYSTEM)
    for _ in range(25):
        noted.note("connection-refused", "192.0.2.1", "slow", {})
    assert noted.not_written == 15
    store.open.set()
    noted.close()
    assert (len(store.written), store.more, noted.not_written) == (10, [15], 0)


def test_a_store_that_fails_makes_room_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "WAITING_MAX", 2)
    store = Store()
    store.failing = True
    noted = Refusals(cast(AuditLog, store), SYSTEM)
    for _ in range(100):
        noted.note("x", "y", "z", {})
    noted.close()
    assert noted._room.acquire(blocking=False) and noted._room.acquire(blocking=False)
    assert store.written == []
