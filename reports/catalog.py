"""Which reports there are, and which queries make them, in the order in which they build on one another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Report:
    """A report. Its queries are run in order; each result is a table that the later ones may read.

    The results of `steps` may have millions of rows: they are only built upon, never read as a whole.
    """

    title: str
    description: str
    queries: tuple[str, ...]
    steps: frozenset[str] = frozenset()


REPORTS: Mapping[str, Report] = {
    "recovery-audit": Report(
        "Recovery audit",
        "Which policy held, what could have been recovered at any moment, and what was shown to be recoverable.",
        (
            "sources",
            "policy_windows",
            "line_marks",
            "points",
            "points_by_class",
            "points_outer",
            "baselines",
            "gaps",
            "complete",
            "heard",
            "moments",
            "exposure",
            "rpo",
            "timeline",
            "verdicts",
            "acts",
            "restores",
            "refusals",
            "verifications",
            "drills",
            "proofs",
        ),
        frozenset({"line_marks", "points", "complete", "heard", "moments", "exposure", "acts"}),
    ),
}


@cache
def query(name: str) -> str:
    """The text of queries/NAME.sql, its header included."""
    return files(__package__).joinpath("queries", f"{name}.sql").read_text("utf-8")


def purpose(name: str) -> str:
    """What a query answers: the sentences of its header before the columns, on one line."""
    lines = []
    for line in query(name).splitlines():
        if not line.startswith("--") or line.startswith("-- Columns:"):
            break
        lines.append(line.removeprefix("--").strip())
    return " ".join(lines)
