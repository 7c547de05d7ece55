"""The agent's benchmark runs, part by part, in sizes of seconds: it has all its figures. Nothing here is judged."""

from __future__ import annotations

import importlib
import json
import math
import os
from pathlib import Path

import pytest

from tests.bench import figures, part
from tests.bench.figures import Figure

LEAST = {"latency": 3, "bursts": 9, "slowdown": 2, "large": 8, "wire": 5}
"""So many figures each part has at least."""


@pytest.mark.parametrize("name", sorted(LEAST))
def test_a_part_has_its_figures(tmp_path: Path, name: str) -> None:
    if name == "wire" and os.geteuid() != 0:
        pytest.skip("a packet socket needs root")
    measure = importlib.import_module(f"tests.bench.agent_{name}").figures
    found = part.run(name, measure, tmp_path, small=True)
    assert len(found) >= LEAST[name]
    assert not [each for each in found if math.isnan(each.value)]
    figures.write(found, tmp_path / "figures.json")
    assert figures.read(tmp_path / "figures.json") == found
    assert not (tmp_path / name).exists()


def test_verdicts() -> None:
    def verdict(value: float, **target: float) -> str:
        return Figure("part", "what", value, "s", **target).verdict

    assert verdict(1.0, at_most=1.0) == verdict(2.0, at_least=2.0) == "reached"
    assert verdict(1.5, at_most=1.0) == "missed by 50%"
    assert verdict(1.5, at_least=2.0) == "missed by 25%"
    assert verdict(1.5) == ""
    assert "reached" not in verdict(math.nan, at_most=1.0) + verdict(math.nan, at_least=1.0)


def test_the_table_and_the_file_say_the_same(tmp_path: Path) -> None:
    found = [Figure("large", "idle", 0.5, "%", at_most=1.0), Figure("large", "rate", 12345.6, "/s", note="beside")]
    text = figures.table(found)
    assert "| large | idle | 0.5 % | ≤ 1 | reached |  |" in text and "| 12,346 /s |  |  | beside |" in text
    figures.write(found, tmp_path / "f.json")
    assert [row["verdict"] for row in json.loads((tmp_path / "f.json").read_text())] == ["reached", ""]
