"""Records of the audit as older nodes wrote them are in reports too."""

from __future__ import annotations

from pathlib import Path

from reports.render import build
from tests.unit.reports.synthetic import BUSY, fixed, minute


def test_a_restore_of_a_name_that_is_no_text_is_in_the_report(tmp_path: Path) -> None:
    """Its record has half a surrogate pair, which DuckDB takes for no JSON."""
    journal = fixed(tmp_path)

    def restores() -> list[str]:
        report = build("recovery-audit", journal, from_at=minute(-35), to_at=minute(60), now=minute(60))
        return [one["path"] for one in report["restores"]]

    before = restores()
    journal.act(minute(14), "restore", "ann", {"address": BUSY, "path": "/srv/na\udcffme", "files": 1, "bytes": 1})
    assert sorted(restores()) == sorted([*before, "/srv/name"])
