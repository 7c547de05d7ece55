"""docs/metrics.md names every metric as it is, and the example rules use metrics and labels that there are."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from engine.node.monitoring.metric_names import HISTOGRAM, METRICS, tables
from tests.embedded import ROOT

DOCUMENT = ROOT / "docs" / "metrics.md"
RULES = ROOT / "docs" / "examples" / "alerts.yml"
BEGIN, END = re.compile(r"<!-- metrics: .*? -->\n"), "\n<!-- /metrics -->"
KNOWN = {"up", "job", "instance", "le", "severity"}


def test_the_tables_are_those_of_the_program(pytestconfig: pytest.Config) -> None:
    text = DOCUMENT.read_text()
    begin = BEGIN.search(text)
    assert begin is not None
    end = text.index(END)
    if pytestconfig.getoption("--update-golden"):
        DOCUMENT.write_text(text[: begin.end()] + tables() + text[end:])
    assert text[begin.end() : end] == tables(), "--update-golden writes them anew"


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_example_rules_name_what_there_is(rule: dict[str, Any]) -> None:
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"\d+[smhd]", rule.get("for", "1m"))
    assert rule["labels"]["severity"] in ("info", "warning", "critical")
    used = set(re.findall(r"\bbcs_[a-z_]+\b", rule["expr"]))
    series = {name for name, metric in METRICS.items() if metric.type != HISTOGRAM}
    series |= {f"{name}_bucket" for name, metric in METRICS.items() if metric.type == HISTOGRAM}
    assert used <= series
    assert used or "up{" in rule["expr"]
    labels = {
        label for name in used for label in METRICS.get(name.removesuffix("_bucket"), METRICS["bcs_sources"]).labels
    }
    shown = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
    assert shown <= labels | KNOWN
    for group in re.findall(r"(?:by|on) \(([^)]*)\)", rule["expr"]):
        assert set(group.split(", ")) <= labels | KNOWN


def test_promtool_agrees() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not there (Debian: prometheus)")
    done = subprocess.run([promtool, "check", "rules", str(RULES)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
