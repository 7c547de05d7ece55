"""bcsctl certificate list: what is shown of each host's certificate."""

from __future__ import annotations

import pytest

from bcsctl.commands.certificate import render
from engine.env.clock import SYSTEM

HOUR = 3600 * 1_000_000


def test_valid_ended_and_revoked(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    now = SYSTEM.now()
    one = {"host": "h", "serial": "1", "not_before": now - HOUR, "not_after": now + HOUR, "heard_at": None}
    render([{**one, "revoked": False}, {**one, "revoked": False, "not_after": now - 1}, {**one, "revoked": True}])
    rows = capfdbinary.readouterr().out.decode().splitlines()[1:]
    assert [row.split()[1] for row in rows] == ["valid", "ended", "revoked"]
