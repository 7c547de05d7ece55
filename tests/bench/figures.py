"""Figures with their targets, as the benchmarks of the agent tell them: a table to read, JSON to compare."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value. `at_most` or `at_least` is its target, neither for one that stands beside it."""

    part: str
    what: str
    value: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        """'reached', 'missed by ...', or '' without a target."""
        if self.at_most is not None and not self.value <= self.at_most:
            return f"missed by {_share(self.value - self.at_most, self.at_most)}"
        if self.at_least is not None and not self.value >= self.at_least:
            return f"missed by {_share(self.at_least - self.value, self.at_least)}"
        return "" if self.at_most is None and self.at_least is None else "reached"

    @property
    def target(self) -> str:
        if self.at_most is not None:
            return f"≤ {_number(self.at_most)}"
        return "" if self.at_least is None else f"≥ {_number(self.at_least)}"


def table(figures: Iterable[Figure]) -> str:
    """All figures as a table in Markdown."""
    lines = ["| part | what | figure | target | | note |", "|---|---|---:|---:|---|---|"]
    for each in figures:
        shown = f"{_number(each.value)} {each.unit}".strip()
        lines.append(f"| {each.part} | {each.what} | {shown} | {each.target} | {each.verdict} | {each.note} |")
    return "\n".join(lines) + "\n"


def write(figures: Sequence[Figure], path: Path) -> None:
    """All figures as JSON."""
    rows = [{**asdict(each), "verdict": each.verdict} for each in figures]
    path.write_text(json.dumps(rows, indent=2) + "\n")


def read(path: Path) -> list[Figure]:
    """What `write` has written."""
    rows = json.loads(path.read_text())
    return [Figure(**{name: value for name, value in row.items() if name != "verdict"}) for row in rows]


def middle(values: Sequence[float]) -> float:
    """The median; not a number where nothing was measured."""
    return statistics.median(values) if values else float("nan")


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of all do not exceed; not a number where nothing was measured."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def _share(by: float, of: float) -> str:
    return f"{by / of:.0%}" if of else _number(by)


def _number(value: float) -> str:
    if value != value:
        return "none"
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2 if abs(value) >= 1 else 3
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
