"""How often agents report: rarely enough for the node, often enough not to look silent."""

from __future__ import annotations

import pytest

from engine.model.times import SECOND
from engine.node.monitoring.status import GRACE, SILENT_AFTER
from engine.node.reports import every_seconds


@pytest.mark.parametrize(("agents", "seconds"), [(0, 1.0), (1, 1.0), (250, 1.0), (300, 1.2), (500, 2.0), (9_000, 2.0)])
def test_many_agents_report_more_rarely(agents: int, seconds: float) -> None:
    assert every_seconds(agents) == seconds


def test_a_report_that_is_lost_makes_nobody_silent_and_a_late_one_nobody_lag() -> None:
    longest = every_seconds(1_000_000) * SECOND
    assert 2 * longest < SILENT_AFTER and longest < GRACE
