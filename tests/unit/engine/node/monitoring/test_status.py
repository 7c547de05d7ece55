"""The three axes as tables: what was reported and stored, and what that makes a source."""

from __future__ import annotations

from typing import Any

import pytest

from engine.model.times import SECOND, format_time
from engine.node.monitoring.status import Report, Stored, delays, source_status

NOW = 1_800_000_000_000_000
GENERATION = 7
SOURCE = {"paths": ["/srv"], "rpo": "5s"}

FRESH = Stored("1.9", NOW - SECOND, NOW - SECOND, NOW - 60 * SECOND, heard_at=NOW - SECOND)
BEHIND = Stored("1.9", NOW - 60 * SECOND, NOW - 20 * SECOND)
NOTHING = Stored()


def report(state: str = "protected", *, ago: float = 0.5, generation: int = GENERATION, **body: Any) -> Report:
    return Report(NOW - int(ago * SECOND), generation, {"state": state, **body})


def status(told: Report | None, stored: Stored, **source: Any) -> dict[str, Any]:
    return source_status("g/h/s", {**SOURCE, **source}, told, stored, GENERATION, NOW)


@pytest.mark.parametrize(
    ("told", "stored", "axes"),
    [
        # never seen; or not since the node started: nothing that was stored once makes it look well
        (None, NOTHING, ("drifted", "never-seen", "unprotected")),
        (None, FRESH, ("drifted", "silent", "unprotected")),
        # silent: five reports missed
        (report(ago=4.9), FRESH, ("synced", "healthy", "protected")),
        (report(ago=5.0), FRESH, ("synced", "healthy", "protected")),
        (report(ago=5.1), FRESH, ("drifted", "silent", "unprotected")),
        (report("baseline", ago=60), NOTHING, ("drifted", "silent", "catching-up")),
        # failing
        (report("failed"), FRESH, ("drifted", "failing", "unprotected")),
        (report("failed"), NOTHING, ("drifted", "failing", "unprotected")),
        # healthy, and how far it is
        (report("baseline"), NOTHING, ("synced", "healthy", "catching-up")),
        (report("opening"), NOTHING, ("synced", "healthy", "unprotected")),
        (report("protected"), NOTHING, ("synced", "healthy", "unprotected")),
        (report("catching-up"), FRESH, ("synced", "healthy", "catching-up")),
        (report(gap_from=NOW - SECOND), FRESH, ("synced", "healthy", "catching-up")),
        (report("paused"), BEHIND, ("synced", "healthy", "unprotected")),
        (report(), BEHIND, ("synced", "healthy", "unprotected")),
        (report(), Stored("1.9", None, None), ("synced", "healthy", "unprotected")),
        # in step with the policies: the generation since which they are as they are, or a later one
        (report(generation=GENERATION - 1), FRESH, ("drifted", "healthy", "protected")),
        (report(generation=GENERATION + 1), FRESH, ("synced", "healthy", "protected")),
        (report(generation=-1), FRESH, ("drifted", "healthy", "protected")),
    ],
)
def test_axes(told: Report | None, stored: Stored, axes: tuple[str, str, str]) -> None:
    row = status(told, stored)
    assert (row["synced"], row["healthy"], row["protected"]) == axes


@pytest.mark.parametrize(
    ("told", "stored", "begun", "condition", "since_ago"),
    [
        (None, NOTHING, {"expected_since": NOW - 90 * SECOND}, "never-seen", 90),
        (None, NOTHING, {"refused_since": NOW - 9 * SECOND}, "refused", 9),
        (None, FRESH, {}, "silent", 1),
        (report(ago=60), FRESH, {}, "silent", 60),
        (report(ago=60), FRESH, {"refused_since": NOW - 50 * SECOND}, "refused", 50),
        # from the revocation on, not only once it has been silent for a while
        (report(ago=3), FRESH, {"refused_since": NOW - 2 * SECOND}, "refused", 2),
        # whoever is heard has a certificate that holds
        (report(), FRESH, {"refused_since": NOW - 50 * SECOND}, "protected", None),
        (report("failed"), FRESH, {}, "failing", None),
        (report(), BEHIND, {}, "lagging", 20),
        (report("opening"), NOTHING, {}, "unprotected", None),
        (report("baseline"), NOTHING, {}, "baseline", None),
        (report("protected", gap_from=NOW - 3 * SECOND), FRESH, {}, "catching-up", 3),
        (report(), FRESH, {}, "protected", None),
    ],
)
def test_one_word_for_a_source_and_since_when(
    told: Report | None, stored: Stored, begun: dict[str, int], condition: str, since_ago: int | None
) -> None:
    row = source_status("g/h/s", SOURCE, told, stored, GENERATION, NOW, **begun)  # type: ignore[arg-type]
    since = format_time(NOW - since_ago * SECOND) if since_ago is not None else None
    assert (row["condition"], row["since"]) == (condition, since)


@pytest.mark.parametrize(
    ("through_ago", "rpo", "protected"),
    [(0, "1s", True), (4, "1s", True), (4.1, "1s", False), (8, "5s", True), (8.1, "5s", False), (3600, "2h", True)],
)
def test_the_objective_and_three_seconds_bound_the_lag(through_ago: float, rpo: str, protected: bool) -> None:
    stored = Stored("1.9", NOW - 90 * 60 * SECOND, NOW - int(through_ago * SECOND))
    row = status(report(), stored, rpo=rpo)
    assert row["protected"] == ("protected" if protected else "unprotected")
    assert row["lag_seconds"] == through_ago
    assert row["rpo_target_seconds"] == float(rpo[:-1]) * (3600 if rpo.endswith("h") else 1)


def test_a_point_counts_for_completeness_without_a_watermark() -> None:
    assert status(report(), Stored("1.9", NOW - SECOND, None))["lag_seconds"] == 1.0
    assert status(report(), Stored("1.9", NOW + SECOND, None))["lag_seconds"] == 0.0


def test_what_was_reported_is_shown() -> None:
    told = report(
        unreadable=3, pending=12, mechanism="fanotify", costs="one event a change", message="busy",
        gap_from=NOW - SECOND, baseline={"files": 5, "bytes": 6, "done": True},
    )  # fmt: skip
    row = status(told, Stored("1.9", NOW, NOW, NOW, gaps=2))
    assert (row["unreadable"], row["pending"], row["mechanism"], row["message"]) == (3, 12, "fanotify", "busy")
    assert (row["gaps"], row["gap_open_since"]) == (3, "2027-01-15T07:59:59.000000Z")
    assert row["baseline"] == {"files": 5, "bytes": 6, "done": True}
    assert row["costs"] == "one event a change"


def test_without_a_report_the_baseline_is_what_the_journal_says() -> None:
    assert status(None, FRESH)["baseline"]["done"] is True
    assert status(None, NOTHING)["baseline"]["done"] is False
    assert status(None, NOTHING)["state"] == "waiting"


def test_delays() -> None:
    assert delays([]) == {"median": None, "p99": None}
    assert delays([7.04]) == {"median": 7.0, "p99": 7.0}
    assert delays([10.0, 20.0]) == {"median": 15.0, "p99": 19.9}
    assert delays([float(n) for n in range(101)]) == {"median": 50.0, "p99": 99.0}
