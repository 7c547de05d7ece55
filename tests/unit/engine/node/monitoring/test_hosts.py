"""Rows of hosts: as bad as their worst source, silent when their agent is, with the certificate they have."""

from __future__ import annotations

from typing import Any

import pytest

from engine.model.times import DAY, MINUTE, SECOND, format_time
from engine.node.monitoring.hosts import STATES, Certified, Heard, host_status
from engine.node.monitoring.status import CONDITIONS

NOW = 1_795_348_800_000_000
HEARD = Heard(NOW - SECOND, "0.1.0", "fanotify", 12_345)
CERTIFIED = Certified("0a1b", NOW + 7 * DAY)


def row(condition: str = "protected", since_ago: int | None = None, **changes: Any) -> dict[str, Any]:
    since = format_time(NOW - since_ago * SECOND) if since_ago is not None else None
    protected = "protected" if condition == "protected" else "unprotected"
    return {"condition": condition, "since": since, "protected": protected, "heard_at": None, **changes}


def state(*rows: dict[str, Any], heard: Heard | None = HEARD, certified: Certified | None = CERTIFIED) -> str:
    return str(host_status("h", rows, heard, certified, NOW)["state"])


def test_every_condition_of_a_source_makes_a_state() -> None:
    assert [state(row(condition)) for condition in CONDITIONS] == [
        "refused", "never-seen", "silent", "failing", "lagging", "unprotected", "catching-up", "catching-up",
        "healthy", "unknown", "healthy",
    ]  # fmt: skip
    assert {state(row(condition)) for condition in CONDITIONS} == set(STATES)


def test_the_worst_source_says_how_the_host_is_and_since_when() -> None:
    found = host_status("h", [row(), row("lagging", 20), row("lagging", 30), row("baseline")], HEARD, CERTIFIED, NOW)
    assert (found["state"], found["since"]) == ("lagging", format_time(NOW - 30 * SECOND))
    assert (found["sources"], found["sources_protected"]) == (4, 1)


def test_what_a_row_tells() -> None:
    assert host_status("h", [row()], HEARD, CERTIFIED, NOW) == {
        "host": "h",
        "state": "healthy",
        "since": None,
        "version": "0.1.0",
        "mechanism": "fanotify",
        "settings": "",
        "heard_at": format_time(NOW - SECOND),
        "clock_skew_seconds": 0.012,
        "usage": None,
        "sources": 1,
        "sources_protected": 1,
        "certificate": {"serial": "0a1b", "not_after": format_time(NOW + 7 * DAY), "revoked_at": None},
    }


def test_an_agent_that_was_not_heard_since_the_node_started() -> None:
    heard_at = format_time(NOW - 60 * SECOND)
    found = host_status("h", [row("silent", 60, heard_at=heard_at)], None, None, NOW)
    assert (found["heard_at"], found["version"], found["certificate"]) == (heard_at, "", None)
    assert found["clock_skew_seconds"] is None


@pytest.mark.parametrize(
    ("heard", "certified", "expected"),
    [
        (HEARD, None, "healthy"),
        (Heard(NOW - MINUTE), None, "silent"),
        (None, CERTIFIED, "never-seen"),
        (None, Certified("1", NOW - SECOND), "refused"),
        (Heard(NOW - MINUTE), Certified("1", NOW + DAY, NOW - 50 * SECOND), "refused"),
        (HEARD, Certified("1", NOW + DAY, NOW + SECOND), "healthy"),
        (Heard(NOW - 3 * SECOND), Certified("1", NOW + DAY, NOW - 2 * SECOND), "refused"),
        (Heard(NOW - 2 * SECOND), Certified("1", NOW + DAY, NOW - 3 * SECOND), "healthy"),
    ],
)
def test_a_host_without_sources(heard: Heard | None, certified: Certified | None, expected: str) -> None:
    assert state(heard=heard, certified=certified) == expected


def test_refused_since() -> None:
    assert CERTIFIED.refused_since(NOW) is None
    assert CERTIFIED.refused_since(NOW + 7 * DAY) == NOW + 7 * DAY
    assert Certified("1", NOW + DAY, NOW).refused_since(NOW) == NOW
