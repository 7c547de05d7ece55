"""Whose history counts when: what a recovery left behind, and what comes late of an older epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.model.events import Mark
from engine.model.times import format_time
from reports.render import build
from tests.unit.reports.synthetic import IDLE, Synthetic, baseline, minute, passed

NOW = minute(60)


def only(journal: Synthetic) -> dict[str, Any]:
    """What the audit says of the only source."""
    [source] = build("recovery-audit", journal, from_at=minute(-35), to_at=NOW, now=NOW)["sources"]
    return dict(source)


def test_what_an_older_epoch_wrote_late_does_not_count(tmp_path: Path) -> None:
    made = Synthetic(tmp_path, minute(0))
    made.add_stream(IDLE, minute(0))
    made.apply(minute(0), {IDLE: "5s"}, None)
    made.commit(minute(1), {IDLE: [*baseline(minute(1), 1)]})
    made.open_epoch(IDLE, 2, "1.2", minute(2))
    made.commit(minute(3), {IDLE: passed(minute(3))})
    source = only(made)
    assert source["points"]["count"] == 1


def test_what_a_recovery_left_behind_counts_for_the_time_in_which_it_was_the_history(tmp_path: Path) -> None:
    """A host is lost and comes back empty, and its tree is recovered from the last point before it."""
    made = Synthetic(tmp_path, minute(0))
    made.add_stream(IDLE, minute(0))
    made.apply(minute(0), {IDLE: "5s"}, None)
    made.commit(minute(1), {IDLE: baseline(minute(1), 1)})
    lost = Mark(0, minute(6), "gap", "agent was killed", "", minute(4))
    made.commit(minute(6), {IDLE: [lost, *passed(minute(6))]}, {IDLE: minute(6)})
    made.open_epoch(IDLE, 2, "1.2", minute(7))
    made.goes_on(IDLE, 2, 2)
    made.commit(minute(8), {IDLE: passed(minute(8))}, {IDLE: minute(8)})
    source = only(made)
    assert [(gap["from"], gap["reason"]) for gap in source["gaps"]] == [(format_time(minute(4)), "agent was killed")]
    assert source["rpo"]["worst_seconds"] >= 120
    assert source["points"]["count"] == 3 and source["points"]["newest"]["point"] == "2.3"
