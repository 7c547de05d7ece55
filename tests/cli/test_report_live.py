"""Reports over a real journal: each format, on standard output or in a file."""

from __future__ import annotations

import json
from pathlib import Path

from .conftest import ADDRESS, PlainSite, Run


def test_the_recovery_audit_in_each_format(run: Run, site: PlainSite, tmp_path: Path) -> None:
    markdown = run("report", "recovery-audit", "--from", "-1d", home=site.home)
    assert markdown.code == 0, markdown.err
    assert ADDRESS in markdown.text
    as_json = run("report", "recovery-audit", "--from", "-1d", "--json", home=site.home)
    assert ADDRESS in json.dumps(as_json.json)
    page = tmp_path / "audit.html"
    assert run("report", "recovery-audit", "--output", page, home=site.home).code == 0
    assert page.read_text("utf-8").lstrip().lower().startswith("<!doctype html>")


def test_unknown_reports_and_empty_periods_are_refused(run: Run, site: PlainSite) -> None:
    unknown = run("report", "recovery-audti", home=site.home)
    assert unknown.code in (2, 5)
    assert "recovery-audit" in unknown.err
    assert run("report", "recovery-audit", "--from", "-1h", "--to", "-2h", home=site.home).code == 2
